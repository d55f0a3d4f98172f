//! What happened, line by line, and a number that is another one if anything was different.

use std::fmt::Arguments;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::system;

/// Where the hash begins, and by what it is multiplied (FNV-1a).
const HASH: (u64, u64) = (0xCBF2_9CE4_8422_2325, 0x0100_0000_01B3);

/// See the module. Clones are the same.
#[derive(Debug, Clone)]
pub struct Trace(Arc<Mutex<Told>>);

#[derive(Debug)]
struct Told {
    hash: u64,
    /// Whether lines are printed as they come.
    is_told: bool,
}

impl Trace {
    /// Nothing has happened. `is_told`: lines are printed as they come.
    #[must_use]
    pub fn new(is_told: bool) -> Self {
        Self(Arc::new(Mutex::new(Told {
            hash: HASH.0,
            is_told,
        })))
    }

    /// Something happens.
    pub(crate) fn tell(&self, what: Arguments<'_>) {
        let line = format!("{:>12.6}  {what}", system::now().as_secs_f64());
        let mut told = self.lock();
        told.add(line.as_bytes());
        if told.is_told {
            print(&line);
        }
    }

    /// Bytes arrive.
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        self.lock().add(bytes);
    }

    /// The number.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.lock().hash
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(HASH.1);
        }
    }
}

#[expect(clippy::print_stdout, reason = "who asks for a trace reads it there")]
fn print(line: &str) {
    println!("{line}");
}
