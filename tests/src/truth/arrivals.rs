//! Arrivals: a handler that remembers, for each process, which of its events came and which came
//! twice.
//!
//! Each event carries its process and its number, so nothing here depends on what a manager knows
//! of a stream. With a directory the memory is in files `a-<pid>` and outlives the manager's process;
//! a successor goes on with them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use telemetry_core::{EventRef, ValueRef};

use super::TAG;

/// Start of the name of a file.
const PREFIX: &str = "a-";
/// Bytes before the bits: how many came again.
const HEAD: u64 = 8;
/// The highest number that is believed; a test that emits more is wrong.
const MOST: u64 = 1 << 24;

/// What came of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// One bit for each number.
    bits: Vec<u8>,
    /// Events that came again.
    pub twice: u64,
}

impl Seen {
    /// Events that came at least once.
    #[must_use]
    pub fn distinct(&self) -> u64 {
        self.bits
            .iter()
            .map(|byte| u64::from(byte.count_ones()))
            .sum()
    }

    /// Adds what came elsewhere. What came here and there came twice.
    pub fn merge(&mut self, other: &Self) {
        if self.bits.len() < other.bits.len() {
            self.bits.resize(other.bits.len(), 0);
        }
        for (mine, theirs) in self.bits.iter_mut().zip(&other.bits) {
            self.twice += u64::from((*mine & theirs).count_ones());
            *mine |= theirs;
        }
        self.twice += other.twice;
    }

    /// Notes one; the index of the byte that changed, `None` if it came before.
    fn note(&mut self, number: u64) -> Option<usize> {
        let index = usize::try_from(number / 8).expect("below MOST");
        let bit = 1 << (number % 8);
        if self.bits.len() <= index {
            self.bits.resize(index + 1, 0);
        }
        if self.bits[index] & bit != 0 {
            self.twice += 1;
            return None;
        }
        self.bits[index] |= bit;
        Some(index)
    }

    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_default();
        let head = bytes.first_chunk().copied().unwrap_or_default();
        Self {
            bits: bytes.get(8..).unwrap_or_default().to_vec(),
            twice: u64::from_le_bytes(head),
        }
    }
}

/// What came, by process. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    dir: Option<PathBuf>,
    processes: Mutex<BTreeMap<u32, Process>>,
}

#[derive(Debug)]
struct Process {
    seen: Seen,
    file: Option<File>,
}

impl Arrivals {
    /// Remembered as long as this lives.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Remembered in the files of a directory, which may hold some already.
    #[must_use]
    pub fn kept_in(dir: impl Into<PathBuf>) -> Self {
        Self {
            shared: Arc::new(Shared {
                dir: Some(dir.into()),
                processes: Mutex::default(),
            }),
        }
    }

    /// The handler to attach.
    pub fn handler(&self) -> impl Fn(&EventRef<'_>) + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move |event| {
            let process = event.claimed(TAG).and_then(|pid| pid.parse().ok());
            let number = match event.measurement("bytes") {
                Some(ValueRef::Int(number)) => u64::try_from(number).ok(),
                _ => None,
            };
            if let (Some(process), Some(number)) = (process, number.filter(|it| *it < MOST)) {
                shared.note(process, number);
            }
        }
    }

    /// What came of one process.
    #[must_use]
    pub fn of(&self, pid: u32) -> Seen {
        let processes = self.shared.lock();
        processes
            .get(&pid)
            .map_or_else(Seen::default, |process| process.seen.clone())
    }

    /// Everything.
    #[must_use]
    pub fn all(&self) -> BTreeMap<u32, Seen> {
        let processes = self.shared.lock();
        let copy = |(pid, process): (&u32, &Process)| (*pid, process.seen.clone());
        processes.iter().map(copy).collect()
    }

    /// Everything that a directory remembers, also of managers that are dead.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    #[must_use]
    pub fn read_all(dir: &Path) -> BTreeMap<u32, Seen> {
        let entries = fs::read_dir(dir).expect("the directory of the arrivals");
        let file = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            let pid = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
            Some((pid.parse().ok()?, Seen::read(&path)))
        };
        entries.filter_map(file).collect()
    }
}

impl Shared {
    fn note(&self, pid: u32, number: u64) {
        let mut processes = self.lock();
        let process = processes.entry(pid).or_insert_with(|| self.open(pid));
        let changed = process.seen.note(number);
        let Some(file) = &process.file else { return };
        let written = match changed {
            Some(index) => {
                file.write_all_at(&process.seen.bits[index..=index], HEAD + index as u64)
            }
            None => file.write_all_at(&process.seen.twice.to_le_bytes(), 0),
        };
        written.expect("the file of the arrivals");
    }

    fn open(&self, pid: u32) -> Process {
        let path = self
            .dir
            .as_ref()
            .map(|dir| dir.join(format!("{PREFIX}{pid}")));
        let open = |path: &PathBuf| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false);
            options.open(path).expect("the file of the arrivals")
        };
        Process {
            seen: path.as_deref().map(Seen::read).unwrap_or_default(),
            file: path.as_ref().map(open),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Process>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_goes_on_with_what_was_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        for _ in 0..2 {
            let arrivals = Arrivals::kept_in(dir.path());
            for number in [1, 2, 9] {
                arrivals.shared.note(7, number);
            }
        }
        let seen = Arrivals::read_all(dir.path()).remove(&7).expect("a file");
        assert_eq!((seen.distinct(), seen.twice), (3, 3));
    }

    #[test]
    fn what_came_here_and_there_came_twice() {
        let (here, there) = (Arrivals::in_memory(), Arrivals::in_memory());
        here.shared.note(7, 1);
        there.shared.note(7, 1);
        there.shared.note(7, 20);
        let mut seen = here.of(7);
        seen.merge(&there.of(7));
        assert_eq!((seen.distinct(), seen.twice), (2, 1));
    }
}
