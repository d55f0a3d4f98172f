//! Reads one process's stderr: telemetry lines go to the capture, everything else goes on to where
//! stderr should go.
//!
//! A target that blocks blocks this one reader only, on a thread that may block.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use telemetry_core::StreamSnapshot;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;

use super::config::StderrTarget;
use crate::capture::StderrCapture;
use crate::pipeline::Pipeline;

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Reads until the end of `stderr`, keeping `counts` current: what was there before plus what this
/// process sent.
pub(super) async fn read(
    stderr: Option<ChildStderr>,
    pipeline: Pipeline,
    counts: Arc<Mutex<StreamSnapshot>>,
    target: StderrTarget,
) {
    let Some(mut stderr) = stderr else { return };
    let before = counts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let publish = |capture: &StderrCapture| {
        let mut now = before.clone();
        now.merge(&capture.snapshot());
        *counts.lock().unwrap_or_else(PoisonError::into_inner) = now;
    };
    let mut capture = StderrCapture::new(pipeline);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let mut rest = Vec::new();
        let ended = match stderr.read(&mut chunk).await {
            Ok(0) | Err(_) => {
                capture.finish(&mut rest);
                true
            }
            Ok(length) => {
                capture.feed(&chunk[..length], &mut rest);
                false
            }
        };
        publish(&capture);
        if !rest.is_empty() {
            pass_on(target.clone(), rest).await;
        }
        if ended {
            return;
        }
    }
}

async fn pass_on(target: StderrTarget, bytes: Vec<u8>) {
    let written = tokio::task::spawn_blocking(move || match target {
        StderrTarget::Inherit => io::stderr().lock().write_all(&bytes),
        StderrTarget::Writer(writer) => writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(&bytes),
    });
    if let Ok(Err(error)) = written.await {
        // Our own stderr may be closed; a worker must not suffer from it.
        tracing::debug!(%error, "a worker's stderr could not be passed on");
    }
}
