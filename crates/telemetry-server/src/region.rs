//! The memory of a worker, as it handed it over: a file that survives it and that nobody can change but
//! the worker itself.
//!
//! What is taken has to be sealed: it cannot shrink or grow, and nobody else can write it. It is read
//! with a system call for each part and never mapped, so nothing changes under whoever looks at it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use rustix::io::pread;
use telemetry_core::emit::{MAX_REGION_BYTES, ReadAt};

/// Without these somebody else could write it, or it could end while it is read.
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::FUTURE_WRITE)
    .union(SealFlags::SEAL);

/// Why a descriptor is not taken for the memory of a worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// The system does not tell what it is.
    #[error("it is no memory file: {0}")]
    NoMemoryFile(io::Error),
    /// It could change.
    #[error("it is not sealed against {missing:?}")]
    Unsealed {
        /// The seals that it lacks.
        missing: SealFlags,
    },
    /// It has more bytes than a region.
    #[error("it has {bytes} bytes, more than the {MAX_REGION_BYTES} allowed")]
    TooLarge {
        /// How many.
        bytes: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Region {
    file: OwnedFd,
}

impl Region {
    /// Takes a descriptor that a worker sent.
    pub(crate) fn of(file: OwnedFd) -> Result<Self, Unfit> {
        let seals = fcntl_get_seals(&file).map_err(|error| Unfit::NoMemoryFile(error.into()))?;
        let missing = SEALS.difference(seals);
        if !missing.is_empty() {
            return Err(Unfit::Unsealed { missing });
        }
        let region = Self { file };
        let bytes = region.size().map_err(Unfit::NoMemoryFile)?;
        if bytes > MAX_REGION_BYTES as u64 {
            return Err(Unfit::TooLarge { bytes });
        }
        Ok(region)
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl ReadAt for Region {
    fn size(&self) -> io::Result<u64> {
        let size = fstat(&self.file)?.st_size;
        u64::try_from(size).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(pread(&self.file, bytes, offset)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::{MemfdFlags, fcntl_add_seals, ftruncate, memfd_create};

    use super::*;

    fn memory_file(bytes: u64, seals: SealFlags) -> OwnedFd {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create(c"test", flags).expect("a memory file");
        ftruncate(&file, bytes).expect("room");
        fcntl_add_seals(&file, seals).expect("sealed");
        file
    }

    #[test]
    fn what_nobody_else_can_change_is_taken_and_read() {
        let region = Region::of(memory_file(64, SEALS)).expect("fit");
        assert_eq!(region.size().expect("a size"), 64);
        let mut bytes = [7; 16];
        assert_eq!(region.read_at(&mut bytes, 56).expect("read"), 8);
        assert_eq!(region.read_at(&mut bytes, 64).expect("read"), 0);
    }

    #[test]
    fn what_could_change_is_not() {
        for seal in SEALS.iter() {
            let unfit = Region::of(memory_file(64, SEALS.difference(seal)));
            let missing_one = matches!(unfit, Err(Unfit::Unsealed { missing }) if missing == seal);
            // Without the last one seals could be added only.
            assert!(missing_one, "{seal:?}");
        }
    }

    #[test]
    fn what_is_no_memory_file_or_too_large_is_not() {
        let file = File::open("/dev/null").expect("there");
        assert!(matches!(
            Region::of(file.into()),
            Err(Unfit::NoMemoryFile(_))
        ));
        let huge = memory_file(MAX_REGION_BYTES as u64 + 1, SEALS);
        assert!(matches!(Region::of(huge), Err(Unfit::TooLarge { .. })));
    }
}
