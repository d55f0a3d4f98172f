//! The memory of an incarnation that outlives it: a sealed memory file, which its maker maps and others can
//! only read.
//!
//! It lives as long as somebody has it open: the process itself, and the manager that it was handed to. Once it
//! is mapped nobody can write it by another way, shrink it or make it executable. A mapping is never taken down,
//! because core holds its words for ever; once they are not used any more its place is taken by the next one.
//! Where there is no such file, on other systems or for want of memory, the heap does: nothing fails for it.
//! What is recorded before anything is started lies in memory as good as the heap's, and moves in.
//!
//! A forked child finds the mapping of its parent, and must not write there. Its fork handler calls
//! [`forget_in_child`], which lays memory of its own over it and closes the descriptor.

#[cfg(target_os = "linux")]
mod file;
mod fork;
#[cfg(target_os = "linux")]
mod mapped;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

#[cfg(target_os = "linux")]
use telemetry_core::emit::Identity;
use telemetry_core::{
    Clock,
    emit::{Layout, Recorder, RecorderConfig, Region},
    wire::ControlError,
};

use crate::own_fd::{Losses, OwnFd};

#[cfg(target_os = "linux")]
pub use file::region_file;
pub use fork::forget_in_child;

/// Where events and counters of a worker lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionKind {
    /// In memory that ends with the process, the heap or as good as that.
    Heap,
    /// In memory that a manager can read, also after the process has died.
    Shared,
}

impl RegionKind {
    /// The word for it, for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Shared => "shared",
        }
    }

    /// Its number in a hello.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Heap => 1,
            Self::Shared => 2,
        }
    }
}

/// A region that managers can be handed, once it is in a file.
#[derive(Debug)]
pub struct SharedRegion {
    /// What they read it by.
    file: OnceLock<OwnFd>,
    /// Whose it is.
    incarnation_id: String,
    /// Counts that the program closed the descriptor.
    losses: Losses,
    /// Whether the manager of the present connection was handed it.
    handed: AtomicBool,
    /// Where it is.
    #[cfg(target_os = "linux")]
    mapped: mapped::Mapped,
    /// What is where in it.
    #[cfg(target_os = "linux")]
    layout: Layout,
}

impl SharedRegion {
    /// The incarnation whose events lie there. A connection introduces itself as that one.
    #[must_use]
    pub fn incarnation_id(&self) -> &str {
        &self.incarnation_id
    }

    /// Has what lies there outlive the process from now on: it moves into a file. Where that cannot be had it
    /// stays as it is. Nobody may record, or take events out, meanwhile; for that it is done before anything is
    /// started.
    pub fn move_in(&self) {
        #[cfg(target_os = "linux")]
        if self.file.get().is_none() {
            match file::move_into_file(&self.mapped, self.layout, &self.losses) {
                Ok(file) => {
                    let _nobody_else_moves_it = self.file.set(file);
                }
                Err(error) => say_heap(&error),
            }
        }
    }

    /// What managers that connect from now on will have: it may not have moved in, and the program may have closed
    /// the descriptor.
    #[must_use]
    pub fn kind(&self) -> RegionKind {
        match self.file.get() {
            Some(file) if !file.is_lost() => RegionKind::Shared,
            _ => RegionKind::Heap,
        }
    }

    /// The descriptor, to be used at once.
    ///
    /// # Errors
    ///
    /// That there is none, or that it is not ours any more.
    pub(crate) fn file(&self) -> io::Result<BorrowedFd<'_>> {
        self.file.get().ok_or(io::ErrorKind::NotFound)?.get()
    }

    /// How often the program was found to have closed the descriptor: once, if at all.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.count()
    }

    /// Says whether the manager of the present connection was handed the descriptor.
    pub(crate) fn set_handed(&self, handed: bool) {
        self.handed.store(handed, Ordering::Relaxed);
    }

    /// What the manager of the present connection has.
    pub(crate) fn handed(&self) -> RegionKind {
        if self.handed.load(Ordering::Relaxed) {
            RegionKind::Shared
        } else {
            RegionKind::Heap
        }
    }

    /// Has the system give all memory of the ring now, so that no emit waits for it. Takes some 100 µs.
    pub(crate) fn populate(&self) {
        #[cfg(target_os = "linux")]
        self.mapped.populate();
    }
}

/// A recorder whose region can be made to outlive the process by [`SharedRegion::move_in`]; where that is not
/// possible it is on the heap. Both belong to `incarnation_id`, 32 hexadecimal digits.
///
/// # Errors
///
/// [`ControlError`] if the initial policy has an invalid rate or pattern.
pub fn recorder(
    config: RecorderConfig,
    clock: Arc<dyn Clock>,
    incarnation_id: &str,
) -> Result<(Recorder, Option<Arc<SharedRegion>>), ControlError> {
    match place(config.layout(), incarnation_id) {
        Ok((region, shared)) => {
            let recorder = Recorder::in_region(config, clock, region)?;
            Ok((recorder, Some(Arc::new(shared))))
        }
        Err(error) => {
            say_heap(&error);
            Ok((Recorder::new(config, clock)?, None))
        }
    }
}

/// Says why what is emitted ends with the process.
fn say_heap(error: &io::Error) {
    tracing::debug!(%error, "what is emitted lies on the heap, and ends with the process");
}

/// A region of this incarnation that can be moved into a file.
#[cfg(target_os = "linux")]
fn place(layout: Layout, incarnation_id: &str) -> io::Result<(Region, SharedRegion)> {
    let incarnation = u128::from_str_radix(incarnation_id, 16).map_err(io::Error::other)?;
    let identity = Identity {
        pid: std::process::id(),
        incarnation,
    };
    let (region, mapped) = file::place(layout, identity)?;
    let shared = SharedRegion {
        file: OnceLock::new(),
        incarnation_id: incarnation_id.to_owned(),
        losses: Losses::default(),
        handed: AtomicBool::new(false),
        mapped,
        layout,
    };
    Ok((region, shared))
}

/// The same where there are no such files.
#[cfg(not(target_os = "linux"))]
fn place(_: Layout, _: &str) -> io::Result<(Region, SharedRegion)> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
