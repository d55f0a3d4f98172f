//! A worker process that dials in at the socket of its first argument, under the id of its second, in the
//! pool of its third.
//!
//! It says on stdout that it is welcome, emits as many events as a line of its stdin says and answers once
//! they are sent, and ends at the end of stdin without any farewell. With a fourth argument, `stay`, it
//! reads nothing and stays until it is killed.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use telemetry_tests::{Caller, PATIENCE, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let socket = PathBuf::from(arguments.next().ok_or("expected the manager's socket")?);
    let id = arguments.next().ok_or("expected an id")?;
    let pool = arguments.next().unwrap_or_default();
    let caller = Caller::new(&id, &pool);
    let _serving = caller.dial_in(&socket).await;
    let mut out = std::io::stdout();
    writeln!(out, "welcome")?;
    if arguments.next().as_deref() == Some("stay") {
        std::future::pending::<()>().await;
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(count) = lines.next_line().await? {
        caller.emit(count.parse()?);
        // Nothing is sent before the manager has asked for a stream.
        let is_sent = || caller.telemetry().flush(PATIENCE).then_some(());
        eventually("the manager to read", is_sent).await;
        writeln!(out, "sent")?;
    }
    std::process::exit(0)
}
