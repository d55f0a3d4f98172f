//! Tries seeds, each in a process of its own, makes the plans of those that fail smaller, and sees after how many
//! seeds a planted mistake is found.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use telemetry_core::Mistake;

/// Longest time that one seed may take. What is under way for longer goes round in circles.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at a process.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// One run of one seed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Try {
    /// The seed.
    pub seed: u64,
    /// Steps of its plan that are left out.
    pub without: Vec<usize>,
    /// What is done wrong on purpose.
    pub mistake: Option<Mistake>,
    /// Whether the plan and the trace are told.
    pub is_told: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// Everything that it said.
    pub said: String,
    /// Whether all was as it should be.
    pub is_right: bool,
}

/// Runs seeds by starting this program.
#[derive(Debug, Clone)]
pub struct Runner {
    /// The program.
    pub program: PathBuf,
}

impl Runner {
    /// Runs one seed.
    ///
    /// # Errors
    ///
    /// There is no process to be had.
    pub fn run(&self, what: &Try) -> io::Result<Came> {
        let mut command = Command::new(&self.program);
        command.args(["one", "--seed", &what.seed.to_string()]);
        if !what.without.is_empty() {
            let left_out: Vec<_> = what.without.iter().map(ToString::to_string).collect();
            command.args(["--without", &left_out.join(",")]);
        }
        if let Some(mistake) = what.mistake {
            command.args(["--mistake", &format!("{mistake:?}")]);
        }
        if what.is_told {
            command.arg("--trace");
        }
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = piped.stderr(Stdio::piped()).spawn()?;
        let (out, errors) = (child.stdout.take(), child.stderr.take());
        let reading = thread::spawn(move || (read(out), read(errors)));
        let until = Instant::now() + PATIENCE;
        let (is_right, end) = loop {
            match child.try_wait()? {
                Some(status) if status.success() => break (true, String::new()),
                Some(status) if status.code() == Some(2) => break (false, String::new()),
                Some(status) => break (false, format!("it ended by itself: {status}")),
                None if Instant::now() < until => thread::sleep(LOOK_EVERY),
                None => {
                    child.kill()?;
                    child.wait()?;
                    break (false, format!("no end within {} s", PATIENCE.as_secs()));
                }
            }
        };
        let (mut said, errors) = reading.join().unwrap_or_default();
        said.push_str(&errors);
        said.push_str(&end);
        Ok(Came { said, is_right })
    }

    /// Runs these seeds on all processors and calls `each` with what came, in no order, until it is true.
    ///
    /// # Errors
    ///
    /// There is no process to be had.
    pub fn run_all(
        &self,
        seeds: std::ops::Range<u64>,
        mistake: Option<Mistake>,
        each: impl FnMut(u64, Came) -> bool + Send,
    ) -> io::Result<()> {
        let next = AtomicU64::new(seeds.start);
        let each = Mutex::new(each);
        let failed = Mutex::new(None);
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let what = Try {
                    seed,
                    mistake,
                    ..Try::default()
                };
                match self.run(&what) {
                    Ok(came) => {
                        let mut each = each.lock().unwrap_or_else(PoisonError::into_inner);
                        if each(seed, came) {
                            next.store(seeds.end, Ordering::Relaxed);
                        }
                    }
                    Err(error) => {
                        next.store(seeds.end, Ordering::Relaxed);
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        return;
                    }
                }
            }
        };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..processors {
                scope.spawn(work);
            }
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.map_or(Ok(()), Err)
    }

    /// Leaves steps out of a plan that fails, as long as it fails, halves first and single steps last.
    ///
    /// # Errors
    ///
    /// There is no process to be had.
    pub fn shrink(&self, what: &Try, steps: usize) -> io::Result<Try> {
        let mut smallest = what.clone();
        let mut size = steps.div_ceil(2);
        while size > 0 {
            let left: Vec<usize> = (0..steps)
                .filter(|step| !smallest.without.contains(step))
                .collect();
            for part in left.chunks(size) {
                let mut smaller = smallest.clone();
                smaller.without.extend(part);
                if !self.run(&smaller)?.is_right {
                    smallest = smaller;
                }
            }
            size /= 2;
        }
        smallest.without.sort_unstable();
        Ok(smallest)
    }

    /// The first seed by which a planted mistake is found.
    ///
    /// # Errors
    ///
    /// There is no process to be had.
    pub fn find(&self, mistake: Mistake, seeds: u64) -> io::Result<Option<(u64, Came)>> {
        let mut first: Option<(u64, Came)> = None;
        self.run_all(1..seeds + 1, Some(mistake), |seed, came| {
            let is_first = first.as_ref().is_none_or(|(known, _)| seed < *known);
            if !came.is_right && is_first {
                first = Some((seed, came));
            }
            first.is_some()
        })?;
        Ok(first)
    }
}

fn read(from: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // What it could not say is missing.
        let _rest = from.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
