//! The system's side: inotify where there is one.
//!
//! Only this file knows its flags. Elsewhere nothing can be opened, and the table looks by itself.

use std::ffi::OsString;
use std::io;

#[cfg(target_os = "linux")]
pub(super) use linux::Notify;
#[cfg(not(target_os = "linux"))]
pub(super) use none::Notify;

/// What the system tells of one watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// Something about a file in the directory.
    File(Kind, OsString),
    /// The directory at this place was removed, moved or unmounted.
    Over,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Appeared,
    Vanished,
    Touched,
    Written,
}

/// How much of a directory is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Names that appear.
    Arrivals,
    /// All that happens to names and modes.
    Names,
    /// Writes, too.
    Writes,
}

/// What one reading brought.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// By the number of the watch, in order.
    pub(super) told: Vec<(i32, Told)>,
    /// Some was lost.
    pub(super) is_incomplete: bool,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::sync::Arc;

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    use rustix::io::Errno;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::{Depth, Kind, Reading, Told, io};

    /// Room for one reading, in bytes: about two thousand short names.
    const BUFFER: usize = 64 << 10;

    /// One inotify instance.
    #[derive(Debug)]
    pub(in super::super) struct Notify {
        fd: Arc<AsyncFd<OwnedFd>>,
    }

    impl Notify {
        /// Opens one. Needs a runtime with IO.
        pub(in super::super) fn open() -> io::Result<Self> {
            let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            #[expect(
                deprecated,
                reason = "what its unsafe successor asks for, an `OwnedFd` has by its type"
            )]
            let fd = Arc::new(AsyncFd::with_interest(fd, Interest::READABLE)?);
            Ok(Self { fd })
        }

        /// The same one, for another thread.
        pub(in super::super) fn share(&self) -> Self {
            Self {
                fd: Arc::clone(&self.fd),
            }
        }

        /// Waits until there is something to read. Whoever is woken reads all of it.
        pub(in super::super) async fn readable(&self) -> io::Result<()> {
            self.fd.readable().await?.clear_ready();
            Ok(())
        }

        /// Watches a directory; the same number for the same directory, whose depth only grows.
        pub(in super::super) fn add(&self, directory: &Path, depth: Depth) -> io::Result<i32> {
            let arrivals = WatchFlags::CREATE | WatchFlags::MOVED_TO;
            let names = arrivals | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::ATTRIB;
            let wanted = match depth {
                Depth::Arrivals => arrivals,
                Depth::Names => names,
                Depth::Writes => names | WatchFlags::MODIFY,
            };
            let always = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
            let how = WatchFlags::ONLYDIR | WatchFlags::EXCL_UNLINK | WatchFlags::MASK_ADD;
            Ok(inotify::add_watch(
                self.fd.get_ref(),
                directory,
                wanted | always | how,
            )?)
        }

        /// Ends a watch; one that the system has ended itself is none.
        pub(in super::super) fn remove(&self, watch: i32) {
            let _ended_before = inotify::remove_watch(self.fd.get_ref(), watch).is_err();
        }

        /// All that has happened so far.
        pub(in super::super) fn read(&self) -> Reading {
            let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
            let mut reader = inotify::Reader::new(self.fd.get_ref(), &mut buffer);
            let mut reading = Reading::default();
            loop {
                let event = match reader.next() {
                    Ok(event) => event,
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => return reading,
                    Err(_) => {
                        reading.is_incomplete = true;
                        return reading;
                    }
                };
                let events = event.events();
                if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                    reading.is_incomplete = true;
                    continue;
                }
                let over = ReadFlags::DELETE_SELF
                    | ReadFlags::MOVE_SELF
                    | ReadFlags::UNMOUNT
                    | ReadFlags::IGNORED;
                if events.intersects(over) {
                    reading.told.push((event.wd(), Told::Over));
                    continue;
                }
                let (Some(name), Some(kind)) = (event.file_name(), kind(events)) else {
                    continue;
                };
                let name = OsStr::from_bytes(name.to_bytes()).to_owned();
                reading.told.push((event.wd(), Told::File(kind, name)));
            }
        }
    }

    fn kind(events: ReadFlags) -> Option<Kind> {
        if events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            Some(Kind::Appeared)
        } else if events.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            Some(Kind::Vanished)
        } else if events.contains(ReadFlags::ATTRIB) {
            Some(Kind::Touched)
        } else if events.contains(ReadFlags::MODIFY) {
            Some(Kind::Written)
        } else {
            None
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use std::path::Path;

    use super::{Depth, Reading, io};

    /// Can never be opened.
    #[derive(Debug)]
    pub(in super::super) enum Notify {}

    impl Notify {
        pub(in super::super) fn open() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in super::super) fn share(&self) -> Self {
            match *self {}
        }

        pub(in super::super) async fn readable(&self) -> io::Result<()> {
            match *self {}
        }

        pub(in super::super) fn add(&self, _: &Path, _: Depth) -> io::Result<i32> {
            match *self {}
        }

        pub(in super::super) fn remove(&self, _: i32) {
            match *self {}
        }

        pub(in super::super) fn read(&self) -> Reading {
            match *self {}
        }
    }
}
