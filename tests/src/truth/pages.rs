//! Pages: how many events a process emitted, counted by the process itself, outside of telemetry.
//!
//! `n-<pid>` holds two little-endian numbers of eight bytes: emits that returned and were counted,
//! then emits that began. They differ by at most one for each thread that emits. The system keeps
//! what was written whatever becomes of the process.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Start of the name of a page.
const PREFIX: &str = "n-";

/// What a process says it emitted: at least `returned`, at most `begun`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Emits that returned and were not `Off`.
    pub returned: u64,
    /// Emits that began.
    pub begun: u64,
}

impl Counted {
    /// A process that counted exactly, because it was asked while nothing was under way.
    #[must_use]
    pub const fn exactly(count: u64) -> Self {
        Self {
            returned: count,
            begun: count,
        }
    }

    /// By how much `told` lies outside of what can be true.
    #[must_use]
    pub fn distance(self, told: u64) -> u64 {
        self.returned.saturating_sub(told) + told.saturating_sub(self.begun.max(self.returned))
    }
}

/// The directory of all pages of a story. Clones name the same one.
#[derive(Debug, Clone)]
pub struct Pages {
    dir: PathBuf,
}

impl Pages {
    /// Pages in a directory that is there.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory, for `TRUTH_DIR`; orders and answers lie in it too.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The page of a process, if it began one.
    #[must_use]
    pub fn of(&self, pid: u32) -> Option<Counted> {
        read(&self.dir.join(format!("{PREFIX}{pid}")))
    }

    /// How many emits of a process returned so far.
    #[must_use]
    pub fn returned(&self, pid: u32) -> u64 {
        self.of(pid).unwrap_or_default().returned
    }

    /// All pages, by process.
    ///
    /// # Panics
    ///
    /// When the directory cannot be read.
    #[must_use]
    pub fn all(&self) -> BTreeMap<u32, Counted> {
        let entries = fs::read_dir(&self.dir).expect("the directory of the pages");
        let page = |entry: io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            let pid = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
            Some((pid.parse().ok()?, read(&path)?))
        };
        entries.filter_map(page).collect()
    }

    /// Everything that was emitted.
    #[must_use]
    pub fn sum(&self) -> Counted {
        self.all()
            .values()
            .fold(Counted::default(), |sum, page| Counted {
                returned: sum.returned + page.returned,
                begun: sum.begun + page.begun,
            })
    }
}

/// The page of this process, as it writes it. For one thread.
#[derive(Debug)]
pub struct Page {
    file: File,
    counted: Counted,
}

impl Page {
    /// A new page for this process.
    ///
    /// # Errors
    ///
    /// What the system says; a page of this process that is there already.
    pub fn begin(dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!("{PREFIX}{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all_at(&[0; 16], 0)?;
        Ok(Self {
            file,
            counted: Counted::default(),
        })
    }

    /// Notes that an emit begins; the number of its event, from 1.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn begins(&mut self) -> io::Result<u64> {
        self.counted.begun += 1;
        self.file
            .write_all_at(&self.counted.begun.to_le_bytes(), 8)?;
        Ok(self.counted.begun)
    }

    /// Notes that it returned and was counted.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn returned(&mut self) -> io::Result<()> {
        self.counted.returned = self.counted.begun;
        self.file
            .write_all_at(&self.counted.returned.to_le_bytes(), 0)
    }
}

fn read(path: &Path) -> Option<Counted> {
    let file = File::open(path).ok()?;
    let number = |offset| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, offset).ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    // In this order: of a process that still emits, `returned` is never read as more than `begun`.
    let returned = number(0)?;
    Some(Counted {
        returned,
        begun: number(8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_was_written_last_and_what_is_under_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let pages = Pages::new(dir.path());
        assert_eq!(pages.of(std::process::id()), None);
        let mut page = Page::begin(dir.path()).expect("a free name");
        for number in 1..=3 {
            assert_eq!(page.begins().expect("written"), number);
            if number < 3 {
                page.returned().expect("written");
            }
        }
        let counted = pages.of(std::process::id()).expect("a page");
        assert_eq!((counted.returned, counted.begun), (2, 3));
        assert_eq!(pages.sum(), counted);
        let distances = [1, 2, 3, 5].map(|told| counted.distance(told));
        assert_eq!(distances, [1, 0, 0, 2]);
    }
}
