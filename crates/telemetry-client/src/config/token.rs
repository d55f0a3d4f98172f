//! Reads the token that this process was given: in a file, or at a descriptor that it inherited.
//!
//! A descriptor is read once in the life of a process and closed, so that nothing that the process starts has
//! it. What is read is never said.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::{Errno, FdFlags, fcntl_getfd};
use telemetry_core::{MAX_TOKEN_BYTES, Token};

/// Bytes that are looked at: a token and the white space around it.
const MAX_BYTES: usize = MAX_TOKEN_BYTES + 64;
/// The descriptors below have a meaning of their own in every process.
const FIRST_OF_OTHERS: RawFd = 3;
/// How long to wait for a pipe whose writer is not done.
const PATIENCE: Duration = Duration::from_millis(100);

/// What was read from a descriptor: which one, and what came of it.
type Found = (RawFd, Result<Option<Token>, String>);

/// The last descriptor that was read. It is closed by then, and its number may be another file's.
static READ: Mutex<Option<Found>> = Mutex::new(None);

/// The token in a file.
pub(super) fn of_file(path: &Path) -> Result<Token, String> {
    // A pipe without a writer would be waited for.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    parse(bytes)
}

/// The token at a descriptor that this process inherited. `None` if it inherited none of that number, as
/// one that was started by a process which has read it.
pub(super) fn of_descriptor(number: RawFd) -> Result<Option<Token>, String> {
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, found)) = &*read
        && *of == number
    {
        return found.clone();
    }
    let found = take(number);
    if !matches!(found, Ok(None)) {
        *read = Some((number, found.clone()));
    }
    found
}

/// Reads a descriptor and closes it, unless it is something else than what was handed down.
fn take(number: RawFd) -> Result<Option<Token>, String> {
    if number < FIRST_OF_OTHERS {
        return Err(format!("descriptor {number} has a meaning of its own"));
    }
    // SAFETY: it is only asked what is behind the number, which may be nothing, and read if that is the
    // pipe or file that was handed to this process for us.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    // What a program opens by itself is closed at exec; what was handed over an exec is not.
    match fcntl_getfd(fd) {
        Ok(flags) if !flags.contains(FdFlags::CLOEXEC) => {}
        _ => return Ok(None),
    }
    let kind = fstat(fd).map(|found| FileType::from_raw_mode(found.st_mode));
    if !matches!(kind, Ok(FileType::Fifo | FileType::RegularFile)) {
        return Err(format!("descriptor {number} is neither a pipe nor a file"));
    }
    let token = read_all(fd).map_err(|error| format!("descriptor {number}: {error}"));
    // SAFETY: closing a number is always sound; this one was handed down for us alone, and is not used again.
    unsafe { rustix::io::close(number) };
    parse(token?).map(Some)
}

/// Reads to the end, or to the end of the line.
fn read_all(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; MAX_BYTES];
    while bytes.len() <= MAX_BYTES && !bytes.ends_with(b"\n") {
        let mut waited_for = [PollFd::new(&fd, PollFlags::IN)];
        let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
        match poll(&mut waited_for, Some(&patience)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::INTR) => continue,
            ready => ready?,
        };
        match rustix::io::read(fd, &mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// A token of what was read.
fn parse(bytes: Vec<u8>) -> Result<Token, String> {
    let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    text.parse().map_err(|error| format!("{error}"))
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Write, pipe};
    use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

    use rustix::io::fcntl_setfd;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    /// A pipe as a parent hands it down, with something in it and its writer gone.
    fn handed_down(text: &str) -> OwnedFd {
        let read = piped(text);
        fcntl_setfd(&read, FdFlags::empty()).expect("a descriptor");
        read.into()
    }

    fn piped(text: &str) -> PipeReader {
        let (read, mut write) = pipe().expect("a pipe");
        write.write_all(text.as_bytes()).expect("room");
        read
    }

    #[test]
    fn a_descriptor_is_read_once_and_closed() {
        let number = handed_down(&format!("{TOKEN}\n")).into_raw_fd();
        let first = of_descriptor(number).expect("a token").expect("a token");
        assert!(first.is(TOKEN.as_bytes()));
        let link = format!("/proc/self/fd/{number}");
        let behind = std::fs::read_link(link).ok();
        assert!(
            behind.is_none_or(|it| !it.to_string_lossy().starts_with("pipe:")),
            "it is open"
        );
        assert_eq!(of_descriptor(number), Ok(Some(first)), "it is remembered");
    }

    #[test]
    fn what_the_program_opened_itself_is_left_alone() {
        let mut read = piped(TOKEN);
        assert_eq!(take(read.as_raw_fd()), Ok(None));
        let mut bytes = [0; 64];
        assert_eq!(read.read(&mut bytes).expect("it is open"), TOKEN.len());
    }

    #[test]
    fn a_writer_that_is_not_done_is_not_waited_for_without_end() {
        let (read, _write) = pipe().expect("a pipe");
        fcntl_setfd(&read, FdFlags::empty()).expect("a descriptor");
        let refused = take(read.into_raw_fd()).expect_err("nobody writes");
        assert!(refused.contains("timed out"), "{refused}");
    }

    #[test]
    fn what_is_no_token_is_refused_without_a_word_of_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        for (text, expected) in [("secret", "6 bytes"), ("", "0 bytes")] {
            std::fs::write(&path, text).expect("a file");
            let refused = of_file(&path).expect_err("no token");
            assert!(
                refused.contains(expected) && !refused.contains("secret"),
                "{refused}"
            );
        }
        std::fs::write(&path, format!("{TOKEN}\n")).expect("a file");
        assert!(of_file(&path).expect("a token").is(TOKEN.as_bytes()));
        assert!(of_file(Path::new("/dev/zero")).is_err());
        assert!(of_file(&directory.path().join("missing")).is_err());
        assert!(take(1).is_err());
    }
}
