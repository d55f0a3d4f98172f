//! A worker that runs tools and lets a manager watch.
//!
//! Set `TELEMETRY_ADDRESS=unix:/path/to.sock` to serve a manager or `TELEMETRY_BACKEND=stderr` to see
//! lines. It works for `WORKER_SECONDS` (default 2) and ends with its ledger.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use telemetry_client::Config;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // As the error words it; returned from `main` it would be shown in its debug form.
        Err(error) => {
            let _unheard = writeln!(std::io::stderr(), "worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::var("WORKER_SECONDS")
        .ok()
        .map_or(Ok(2), |text| text.parse())?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut worker = Config::from_env()?.start()?;
    let telemetry = worker.telemetry().clone();
    let result_size = telemetry.event("tool.result_size");
    for request in 0_i64.. {
        if Instant::now() >= end {
            break;
        }
        let correlation_id = format!("request-{request}");
        let span = telemetry
            .span("tool.execution")
            .metadata("tool", "count")
            .correlation_id(&correlation_id)
            .start();
        match count_digits(request) {
            Ok(digits) => {
                result_size.emit(
                    &[("bytes", digits.into())],
                    &[("tool", "count")],
                    &correlation_id,
                );
                span.finish();
            }
            Err(error) => span.fail(&*error),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let ledger = worker.shutdown();
    let (emitted, sent, dropped) = (ledger.emitted, ledger.sent, ledger.dropped.total());
    writeln!(
        std::io::stdout(),
        "emitted {emitted}, sent {sent}, dropped {dropped}"
    )?;
    Ok(())
}

/// The tool: fails for every tenth request.
fn count_digits(number: i64) -> Result<usize, Box<dyn Error>> {
    if number % 10 == 9 {
        return Err("no patience for a nine at the end".into());
    }
    Ok(number.to_string().len())
}
