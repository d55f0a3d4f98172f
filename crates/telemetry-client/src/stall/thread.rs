//! The number of a thread, as the system has it; asked for once in each thread.

use std::cell::Cell;

use telemetry_core::emit::seed_generation;

thread_local! {
    /// The number, and the generation it was asked for in: the first thread of a fork has a new one.
    static THREAD: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

/// The number that the system gives to the calling thread.
#[must_use]
#[inline]
pub fn thread_id() -> u32 {
    let generation = seed_generation();
    match THREAD.get() {
        (asked, thread) if asked == generation => thread,
        _ => ask(generation),
    }
}

/// Asks the system.
#[cold]
fn ask(generation: u64) -> u32 {
    let thread = rustix::thread::gettid().as_raw_nonzero().get();
    let thread = u32::try_from(thread).unwrap_or_default();
    THREAD.set((generation, thread));
    thread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_its_own_that_the_system_knows() {
        let here = thread_id();
        let there = std::thread::spawn(|| (thread_id(), thread_id()));
        let there = there.join().unwrap();
        assert_eq!(there.0, there.1);
        assert_ne!(here, there.0);
        assert!(std::path::Path::new(&format!("/proc/self/task/{here}")).exists());
    }
}
