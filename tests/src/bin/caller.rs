//! A worker process that dials in at the socket of its first argument, under the id of its second.
//!
//! It says on stdout that it is welcome, with its process id, emits one event for each line of its stdin
//! and answers with the ledger once that is sent, and ends at the end of stdin without any farewell.

use std::error::Error;
use std::path::PathBuf;

use telemetry_tests::{Caller, PATIENCE};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let socket = PathBuf::from(arguments.next().ok_or("expected the manager's socket")?);
    let id = arguments.next().ok_or("expected an id")?;
    let pool = arguments.next().unwrap_or_default();
    let caller = Caller::new(&id, &pool);
    let _serving = caller.dial_in(&socket).await;
    println!("welcome {}", std::process::id());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        caller.emit(1);
        let telemetry = caller.telemetry().clone();
        let is_sent = tokio::task::spawn_blocking(move || telemetry.flush(PATIENCE)).await?;
        println!("{}", if is_sent { "sent" } else { "stuck" });
    }
    std::process::exit(0)
}
