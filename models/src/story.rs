//! The shortest run of a model through a few situations, and on until all is quiet.
//!
//! It is searched as a law that is broken when the story is told.

use std::fmt;

use crate::model::{Fault, Model, Moves};
use crate::search::{Verdict, explore};

/// No story is looked for in more states.
const MOST: usize = 4_000_000;

/// Whether a step, with the states before and after it, is what a chapter is about.
pub type IsIt<M> = fn(&<M as Model>::State, &<M as Model>::Step, &<M as Model>::State) -> bool;

/// One situation that must come about, after those before it.
pub struct Chapter<M: Model>(pub IsIt<M>);

impl<M: Model> fmt::Debug for Chapter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chapter")
    }
}

/// A run: every step, with the state behind it.
#[derive(Debug)]
pub struct Story<M: Model>(pub Vec<(M::Step, M::State)>);

/// The shortest run through all chapters, if there is one. The model must not be symmetric, or the names
/// in it would change on the way.
pub fn tell<M: Model>(model: &M, chapters: &[Chapter<M>]) -> Option<Story<M>> {
    let told = Told { model, chapters };
    let Verdict::Broken(broken) = explore(&told, MOST) else {
        return None;
    };
    let mut at = told.start();
    let mut story = Vec::new();
    for wanted in broken.steps {
        let mut moves: Moves<Told<'_, M>> = Vec::new();
        told.moves(&at, &mut moves);
        let (step, after) = moves.into_iter().find(|(step, _)| *step == wanted)?;
        at = after.ok()?;
        story.push((step, at.0.clone()));
    }
    let is_whole = at.1 == chapters.len() && model.is_quiet(&at.0);
    is_whole.then_some(Story(story))
}

/// A model, and how much of the story is told.
struct Told<'a, M: Model> {
    model: &'a M,
    chapters: &'a [Chapter<M>],
}

impl<M: Model> Model for Told<'_, M> {
    type State = (M::State, usize);
    type Step = M::Step;

    fn start(&self) -> Self::State {
        (self.model.start(), 0)
    }

    fn moves(&self, (state, told): &Self::State, moves: &mut Moves<Self>) {
        let mut plain: Moves<M> = Vec::new();
        self.model.moves(state, &mut plain);
        for (step, result) in plain {
            let result = result.map(|after| {
                let next = self.chapters.get(*told);
                let is_it = next.is_some_and(|chapter| chapter.0(state, &step, &after));
                (after, told + usize::from(is_it))
            });
            moves.push((step, result));
        }
    }

    fn laws(&self, (state, told): &Self::State) -> Result<(), Fault> {
        self.model.laws(state)?;
        let is_told = *told == self.chapters.len() && self.model.is_quiet(state);
        Fault::unless(!is_told, "the story is told")
    }

    fn is_quiet(&self, (state, _): &Self::State) -> bool {
        self.model.is_quiet(state)
    }

    fn summary(&self, (state, _): &Self::State) -> String {
        self.model.summary(state)
    }
}
