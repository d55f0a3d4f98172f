//! What telemetry has to say to people: one line on stderr, once per process and text.
//!
//! Never through Python's `warnings`, which can be turned into exceptions, and never in a way that waits:
//! a pipe that is full loses the line. Where there is no stderr, nothing is said.

use std::mem;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::calls;
use crate::memory::has_room;

/// Texts that are remembered; further ones are not said at all.
const MAX_TEXTS: usize = 64;
/// Longest line in bytes: a pipe that is ready takes so much at once.
const MAX_LINE_BYTES: usize = 4096;

/// Where less memory than this is left, no Python code is run to say something.
const ROOM_BYTES: usize = 1024 * 1024;

/// What was said. Locked by attached threads only, for a moment, so that no fork of Python's finds it
/// locked.
static SAID: Mutex<Vec<Box<str>>> = Mutex::new(Vec::new());

/// Says it, unless it was said. What goes wrong with that is not worth an exception of any kind.
pub(crate) fn warn_once(py: Python<'_>, text: &str) {
    {
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= MAX_TEXTS || said.iter().any(|it| **it == *text) {
            return;
        }
        said.push(text.into());
    }
    if !has_room(ROOM_BYTES) {
        // Python has none either; what `sys.stderr` is will not be found out.
        return write_if_ready(
            libc::STDERR_FILENO,
            format!("telemetry: {text}\n").as_bytes(),
        );
    }
    let _unsaid = say(py, text);
}

/// Writes one line to `sys.stderr`: to its descriptor, which takes no lock that a fork may have left
/// behind, or through its `write` if it has none.
fn say(py: Python<'_>, text: &str) -> PyResult<()> {
    let stderr = py.import("sys")?.getattr("stderr")?;
    if stderr.is_none() {
        return Ok(());
    }
    let line = format!("telemetry: {}\n", text.replace('\n', " "));
    let descriptor = calls::attribute(&stderr, "fileno")
        .and_then(|fileno| calls::call(&fileno, &PyTuple::empty(py)))
        .and_then(|number| number.extract::<i32>());
    match descriptor {
        Ok(descriptor) => write_if_ready(descriptor, line.as_bytes()),
        Err(_has_none) => {
            let write = calls::attribute(&stderr, "write")?;
            calls::call(&write, &(line,).into_pyobject(py)?)?;
        }
    }
    Ok(())
}

/// Writes to a descriptor that takes it at once.
fn write_if_ready(descriptor: i32, line: &[u8]) {
    let line = &line[..line.len().min(MAX_LINE_BYTES)];
    // SAFETY: `asked` is a plain value that the call may change, and `line` is as long as it says.
    unsafe {
        let mut asked: libc::pollfd = mem::zeroed();
        asked.fd = descriptor;
        asked.events = libc::POLLOUT;
        if libc::poll(&raw mut asked, 1, 0) == 1 && asked.revents == libc::POLLOUT {
            libc::write(descriptor, line.as_ptr().cast(), line.len());
        }
    }
}
