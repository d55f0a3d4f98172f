//! A file that a worker appends to and that we read: each byte once, and its space given back.
//!
//! What was read is punched out of the file, so the file takes the space of what was not read yet, and
//! whoever opens it next finds by itself where to go on: at the first byte that is not zero. What was
//! read and not punched out yet when we died is read again. Where holes cannot be made the file is cut
//! off when all of it was read, and after a death is read again from its beginning.
//!
//! Some space behind its end is kept free for the worker, as far as there is any: who fills the file system
//! must not make a print of the worker fail.
//!
//! All calls may wait for the disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};

/// Bytes read at once.
const CHUNK_BYTES: usize = 128 * 1024;
/// What a hole must begin and end with to give space back.
const BLOCK_BYTES: u64 = 4_096;
/// Size at which a file that cannot have holes is cut off.
const CUT_BYTES: u64 = 64 * 1024;
/// Size at which any file is: holes count for the largest size that a file may have.
const CUT_ANY_BYTES: u64 = 1 << 40;
/// Most bytes that wait to be read. A worker that writes faster than they can be read for so long loses
/// the oldest.
const MAX_BACKLOG_BYTES: u64 = 256 << 20;

/// Bytes behind the end of a file that are kept free.
const RESERVE_BYTES: u64 = 32 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    /// Next byte to be read.
    position: u64,
    /// Nothing but what was punched out was seen so far.
    is_fresh: bool,
    can_punch: bool,
    chunk: Vec<u8>,
}

/// What one reading brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Whether there was something.
    pub(super) is_something: bool,
    /// Whether there was more when it began; what was added since then will be told.
    pub(super) is_behind: bool,
    /// Bytes that were passed over, unread.
    pub(super) skipped: u64,
}

impl Tail {
    /// Opens the file, which is made if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let position = first_data(&file)?;
        Ok(Self {
            file,
            position,
            is_fresh: true,
            can_punch: true,
            chunk: vec![0; CHUNK_BYTES],
        })
    }

    /// Reads what is there, up to one chunk, hands it to `take`, and gives its space back.
    pub(super) fn read(&mut self, take: impl FnOnce(&[u8])) -> io::Result<Reading> {
        let size = self.file.metadata()?.len();
        if size < self.position {
            // Somebody cut it off, as `> /dev/stderr` in a shell does.
            self.position = 0;
        }
        let mut skipped = 0;
        if size - self.position > MAX_BACKLOG_BYTES {
            let from = self.position;
            self.position = size - MAX_BACKLOG_BYTES / 2;
            skipped = self.position - from;
            self.free(from);
        }
        let from = self.position;
        let length = match self.file.read_at(&mut self.chunk, from) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        if length == 0 {
            self.cut_off(false)?;
            return Ok(Reading {
                is_something: skipped > 0,
                is_behind: false,
                skipped,
            });
        }
        let mut bytes = &self.chunk[..length];
        if self.is_fresh {
            // What an earlier reader punched out of the block in which it stopped.
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes = &bytes[zeros..];
            self.is_fresh = bytes.is_empty();
        }
        if !bytes.is_empty() {
            take(bytes);
        }
        self.position += length as u64;
        self.free(from);
        self.cut_off(false)?;
        // At once: what was given back goes to who asks first.
        self.reserve();
        Ok(Reading {
            is_something: true,
            is_behind: self.position < size,
            skipped,
        })
    }

    /// After the end of all who write to it: makes the file empty, if all was read.
    pub(super) fn reset(&mut self) -> io::Result<()> {
        self.cut_off(true)
    }

    /// Whether all was read that is there. Asks the system and no disk.
    pub(super) fn is_at_end(&self) -> bool {
        let size = self.file.metadata().map_or(0, |metadata| metadata.len());
        size == self.position
    }

    /// Bytes that were not read yet.
    pub(super) fn backlog(&self) -> u64 {
        let size = self.file.metadata().map_or(0, |metadata| metadata.len());
        size.saturating_sub(self.position)
    }

    /// Gives back the space between `from` and the position.
    fn free(&mut self, from: u64) {
        if self.can_punch {
            // From the beginning of a block, so that one which was punched out in parts is given back.
            let from = from / BLOCK_BYTES * BLOCK_BYTES;
            self.can_punch = punch(&self.file, from, self.position - from).is_ok();
        }
    }

    /// Keeps as much space as there is: blocks come back one by one, and the system gives all it is asked
    /// for or nothing.
    fn reserve(&self) {
        let mut bytes = RESERVE_BYTES;
        while bytes > 0 && reserve_bytes(&self.file, bytes).is_err() {
            bytes -= BLOCK_BYTES;
        }
    }

    fn cut_off(&mut self, is_over: bool) -> io::Result<()> {
        let is_due = self.position >= CUT_ANY_BYTES
            || (!self.can_punch && self.position >= CUT_BYTES)
            || (is_over && self.position > 0);
        if is_due && self.backlog() == 0 {
            // A line that is written just now is lost; hence only where it must be.
            self.file.set_len(0)?;
            self.position = 0;
        }
        Ok(())
    }
}

/// Where the first byte may be that was not punched out; the end, if there is none.
fn first_data(file: &File) -> io::Result<u64> {
    #[cfg(target_os = "linux")]
    {
        match seek(file, SeekFrom::Data(0)) {
            Ok(position) => return Ok(position),
            Err(rustix::io::Errno::NXIO) => {}
            // A file system that knows no holes.
            Err(_) => return Ok(0),
        }
    }
    Ok(seek(file, SeekFrom::End(0))?)
}

/// Keeps space free behind the end of the file. An error if there is not enough; a system or a file system
/// that reserves nothing does as if.
pub(super) fn reserve(file: &File) -> io::Result<()> {
    reserve_bytes(file, RESERVE_BYTES)
}

fn reserve_bytes(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;

        let size = file.metadata()?.len();
        let reserved = fallocate(file, FallocateFlags::KEEP_SIZE, size, bytes);
        if let Err(error @ (Errno::NOSPC | Errno::DQUOT)) = reserved {
            return Err(error.into());
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _not_here = (file, bytes);
    Ok(())
}

/// Whether it was said that there is no space left.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};

    matches!(error.kind(), StorageFull | QuotaExceeded)
}

#[cfg(target_os = "linux")]
fn punch(file: &File, from: u64, length: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};

    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, how, from, length)?)
}

#[cfg(not(target_os = "linux"))]
fn punch(_: &File, _: u64, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn all(tail: &mut Tail) -> Vec<u8> {
        let mut read = Vec::new();
        while tail
            .read(|bytes| read.extend_from_slice(bytes))
            .unwrap()
            .is_something
        {}
        read
    }

    #[test]
    fn every_byte_is_read_once_also_by_the_next_reader_and_takes_no_space_then() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.stderr");
        let mut tail = Tail::open(&path).unwrap();
        let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
        let mut written = 0_usize;
        let mut read = Vec::new();
        let mut expected = Vec::new();
        for round in 0..60 {
            let line = format!("{round} {}\n", "x".repeat(round * 97));
            writer.write_all(line.as_bytes()).unwrap();
            expected.extend_from_slice(line.as_bytes());
            written += line.len();
            if round % 7 == 0 {
                tail = Tail::open(&path).unwrap();
            }
            if round % 3 == 0 {
                read.extend(all(&mut tail));
            }
        }
        read.extend(all(&mut tail));
        assert!(read == expected, "{} of {written} bytes", read.len());
        let left = std::fs::metadata(&path).unwrap();
        if tail.can_punch {
            let most = 2 * BLOCK_BYTES + RESERVE_BYTES;
            assert!(left.blocks() * 512 <= most, "{left:?}");
        }
        tail.reset().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
        writer.write_all(b"after\n").unwrap();
        assert_eq!(all(&mut tail), b"after\n");
    }

    #[test]
    fn file_without_holes_is_cut_off_and_one_that_others_cut_off_is_read_from_its_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.stderr");
        let mut tail = Tail::open(&path).unwrap();
        tail.can_punch = false;
        let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
        writer.write_all(&[b'x'; 100_000]).unwrap();
        let mut read = 0;
        while tail.read(|bytes| read += bytes.len()).unwrap().is_behind {}
        assert_eq!(read, 100_000);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
        writer.write_all(b"one\ntwo\n").unwrap();
        assert_eq!(all(&mut tail), b"one\ntwo\n");
        writer.set_len(0).unwrap();
        writer.write_all(b"three\n").unwrap();
        assert_eq!(all(&mut tail), b"three\n");
    }
}
