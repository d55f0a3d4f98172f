//! A count that backends written in Python keep: exact over all threads, and anew in a forked child.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

use crate::fork;

/// A count of this process.
#[pyclass(frozen, module = "telemetry_py._native", name = "Count")]
#[derive(Debug)]
pub(crate) struct PyCount {
    /// The process that counts, as [`fork::generation`]. Written by attached threads only.
    generation: AtomicU64,
    /// How many.
    value: AtomicU64,
}

#[pymethods]
impl PyCount {
    #[new]
    fn new() -> Self {
        fork::watch();
        Self {
            generation: AtomicU64::new(fork::generation()),
            value: AtomicU64::new(0),
        }
    }

    /// Counts so many more.
    #[pyo3(signature = (more=1))]
    fn add(&self, more: u64) {
        self.settle();
        self.value.fetch_add(more, Ordering::Relaxed);
    }

    /// How many there were.
    #[getter]
    fn value(&self) -> u64 {
        self.settle();
        self.value.load(Ordering::Relaxed)
    }
}

impl PyCount {
    /// Forgets what the parent of this process counted.
    fn settle(&self) {
        let generation = fork::generation();
        if self.generation.swap(generation, Ordering::Relaxed) != generation {
            self.value.store(0, Ordering::Relaxed);
        }
    }
}
