//! Situations that are easy to get wrong, each as the shortest script that leads through it.
//!
//! The text is kept in `stories.txt`, where tests of the code find what to do and what to expect.

mod direct;
mod logged;

use std::fmt::Write;

use crate::model::Model;
use crate::story::{Chapter, tell};

/// What stands above all stories.
const PREFACE: &str = "\
Scripts for tests of real workers and managers: the shortest way through some situations that the
models found. Each step comes with what is true behind it. `base`: all up to there are released.

Written by: UPDATE_STORIES=1 cargo nextest run -p telemetry-models stories
";

/// All stories, as in `stories.txt`.
///
/// # Panics
///
/// If one cannot be told: its situation is beyond the reach of the model.
#[must_use]
pub fn text() -> String {
    let mut text = PREFACE.to_owned();
    direct::add_all(&mut text);
    logged::add_all(&mut text);
    text
}

/// Adds one story; `end` says what is worth knowing of how it ended.
fn add<M: Model>(
    text: &mut String,
    title: &str,
    setting: &str,
    model: &M,
    chapters: &[Chapter<M>],
    end: impl Fn(&M::State) -> String,
) {
    let Some(story) = tell(model, chapters) else {
        panic!("no run of the model tells the story: {title}");
    };
    let mut lines = format!("\n## {title}\n\n{setting}\n\n");
    for (number, (step, after)) in story.0.iter().enumerate() {
        let line = format!("{:2}. {step}", number + 1);
        // Writing into a string cannot fail.
        let _ = writeln!(lines, "{line}\n      {}", model.summary(after));
    }
    if let Some((_, last)) = story.0.last() {
        let _ = writeln!(lines, "\nIn the end: {}.", end(last));
    }
    text.push_str(&lines);
}
