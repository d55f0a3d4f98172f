//! The truthful worker in Rust: what `python/truthful.py` does, with the client crate.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use telemetry_client::{Config, Telemetry};
use telemetry_core::Outcome;

use super::pages::Page;
use super::{EVENT, TAG};

/// Rounds between two looks for orders.
const ROUNDS: u32 = 4;

/// Emits and obeys until it is told to finish or whoever started it is gone.
///
/// # Errors
///
/// Settings that are missing or wrong, and what the system says.
pub fn run_worker() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::var("TRUTH_DIR")?);
    let rate: u32 = std::env::var("TRUTH_RATE")?.parse()?;
    let parent = std::os::unix::process::parent_id();
    let mut emitter = Emitter {
        page: Page::begin(&dir)?,
        telemetry: None,
        tag: std::process::id().to_string(),
        count: 0,
    };
    let mut worker = Config::from_env()?.start()?;
    emitter.telemetry = Some(worker.telemetry().clone());
    if let Ok(events) = std::env::var("TRUTH_SCRIPT") {
        emitter.burst(events.parse()?)?;
        worker.shutdown();
        return Ok(());
    }
    let pause = Duration::from_secs(1) / rate;
    let (mut emitting, mut rounds) = (true, 0_u32);
    loop {
        if emitting {
            emitter.emit()?;
        }
        std::thread::sleep(pause);
        rounds = rounds.wrapping_add(1);
        if rounds % ROUNDS != 0 {
            continue;
        }
        if std::os::unix::process::parent_id() != parent {
            break;
        }
        let Some(order) = order(&dir) else { continue };
        let words: Vec<_> = order.split_whitespace().collect();
        match words[..] {
            ["burst", count] => emitter.burst(count.parse()?)?,
            ["burst", count, "exit"] => {
                emitter.burst(count.parse()?)?;
                std::process::exit(0);
            }
            ["pause"] => emitting = false,
            ["resume"] => emitting = true,
            ["finish"] => {
                answer(&dir, &json!({ "count": emitter.count }))?;
                break;
            }
            _ => {
                answer(&dir, &json!({ "error": format!("unknown order {order}") }))?;
                continue;
            }
        }
        answer(&dir, &json!({ "count": emitter.count }))?;
    }
    worker.shutdown();
    Ok(())
}

/// What emits and counts.
struct Emitter {
    page: Page,
    /// `None` until it started.
    telemetry: Option<Telemetry>,
    tag: String,
    count: u64,
}

impl Emitter {
    fn emit(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(telemetry) = &self.telemetry else {
            return Ok(());
        };
        self.count = self.page.begins()?;
        let number = i64::try_from(self.count)?;
        let outcome = telemetry.emit(EVENT, &[("bytes", number.into())], &[(TAG, &self.tag)], "");
        if outcome == Outcome::Off {
            return Err("nobody turns truthful workers off".into());
        }
        Ok(self.page.returned()?)
    }

    fn burst(&mut self, count: u64) -> Result<(), Box<dyn Error>> {
        (0..count).try_for_each(|_| self.emit())
    }
}

/// What somebody wants, if anything.
fn order(dir: &Path) -> Option<String> {
    let path = dir.join(format!("order-{}", std::process::id()));
    let order = fs::read_to_string(&path).ok()?;
    fs::remove_file(&path).ok()?;
    Some(order)
}

fn answer(dir: &Path, answer: &serde_json::Value) -> io::Result<()> {
    let path = dir.join(format!("answer-{}", std::process::id()));
    let new = path.with_extension("new");
    fs::write(&new, answer.to_string())?;
    fs::rename(new, path)
}
