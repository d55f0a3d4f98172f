//! What happens to regions when this process forks.

use std::os::fd::BorrowedFd;

use rustix::fs::fstat;

use crate::own_fd::{OpenFd, open_fds, unlist_all};

/// Lays memory of its own over what a forked child has of its parent's regions, and closes the descriptors that
/// it has of its parent's servers and connections. What the child still writes there reaches nobody else.
///
/// Async-signal-safe. For the child's fork handler, before anything else of the child runs; a process that has
/// made a region calls it by itself. A second call does nothing.
pub fn forget_in_child() {
    #[cfg(target_os = "linux")]
    super::mapped::lay_over_all();
    for open in open_fds() {
        if is_still(open) {
            // SAFETY: closing a number is always sound; this one stands for what the parent had open at the fork,
            // and nothing in this process will use or close it again.
            unsafe { rustix::io::close(open.fd) };
        }
    }
    unlist_all();
}

/// Whether a number stands for what it was listed with: the parent may have closed it and opened a file of its
/// own under the same one.
fn is_still(open: OpenFd) -> bool {
    // SAFETY: it is only asked what is behind the number, which may be nothing.
    let fd = unsafe { BorrowedFd::borrow_raw(open.fd) };
    fstat(fd).is_ok_and(|found| (found.st_dev, found.st_ino) == (open.device, open.inode))
}

/// Makes sure that a forked child forgets. Called before there is anything to forget.
#[cfg(target_os = "linux")]
pub(super) fn watch() -> std::io::Result<()> {
    use std::ffi::c_int;
    use std::sync::atomic::{AtomicBool, Ordering};

    unsafe extern "C" {
        fn pthread_atfork(
            before: Option<extern "C" fn()>,
            in_parent: Option<extern "C" fn()>,
            in_child: Option<extern "C" fn()>,
        ) -> c_int;
    }

    extern "C" fn in_child() {
        forget_in_child();
    }

    /// There is no way to take it back. Two threads at once do it twice, which does no harm.
    static IS_WATCHED: AtomicBool = AtomicBool::new(false);

    if IS_WATCHED.load(Ordering::Acquire) {
        return Ok(());
    }
    // SAFETY: the handler is a function that lives as long as the process, and does only what POSIX allows
    // between fork and exec.
    let failed = unsafe { pthread_atfork(None, None, Some(in_child)) };
    if failed != 0 {
        return Err(std::io::Error::from_raw_os_error(failed));
    }
    IS_WATCHED.store(true, Ordering::Release);
    Ok(())
}
