//! The log of `telemetry manager`: its own lines, exported events, and what workers wrote to stderr,
//! all on stderr and all through one writer that never makes anybody wait.
//!
//! Builds the subscriber; which lines there are and how they look is decided by `[log]`.

mod json;
mod limit;
mod passed_on;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use telemetry_server::{
    config::{Config, LogFilter, LogFormat, OwnLogSection},
    pool::StderrTarget,
    process::LossyWriter,
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::failure::Failure;

use json::Json;
use limit::Limit;
use passed_on::PassedOn;

/// Environment variable that sets what the manager itself logs.
pub(crate) const LOG_VARIABLE: &str = "TELEMETRY_LOG";

/// Longest wait for the rest to be written when the manager ends.
const REST: Duration = Duration::from_secs(1);

/// The log of this process, once it was set up.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    writer: LossyWriter,
    format: LogFormat,
    limit: Limit,
}

impl Log {
    /// From now on everything that is traced, and every panic, goes to stderr as `config` wants it.
    pub(crate) fn set_up(config: &Config) -> Result<Self, Failure> {
        let OwnLogSection { format, level, .. } = config.own_log.clone();
        let own = from_environment()?.unwrap_or(level);
        let events = config.log.as_ref().map(|log| log.level);
        let writer = LossyWriter::to_stderr()
            .map_err(|error| Failure::Failed(format!("cannot log to stderr: {error}")))?;
        let limit = Limit::default();
        let to = writer.clone();
        let lines = fmt::layer()
            .log_internal_errors(false)
            .with_ansi(wants_colour())
            .with_writer(move || to.clone());
        let lines = match format {
            LogFormat::Json => lines.with_ansi(false).event_format(Json).boxed(),
            _ => lines.boxed(),
        };
        tracing_subscriber::registry()
            .with(targets(&own, events))
            .with(limit.clone())
            .with(lines)
            .init();
        panic::set_hook(Box::new(panicked));
        Ok(Self {
            writer,
            format,
            limit,
        })
    }

    /// Where the lines go.
    pub(crate) fn writer(&self) -> &LossyWriter {
        &self.writer
    }

    /// Where the workers of this pool write.
    pub(crate) fn stderr_of(&self, pool: &str) -> StderrTarget {
        PassedOn::target(self.writer.clone(), self.format, pool)
    }

    /// Tells from time to time what was suppressed.
    pub(crate) async fn keep_telling(&self) {
        self.limit.keep_telling().await;
    }

    /// Says why the manager ends, and has the rest written if that takes no longer than [`REST`].
    pub(crate) fn finish(&self, failure: Option<&str>) {
        self.limit.tell_all();
        match failure {
            Some(text) if self.format == LogFormat::Json => tracing::error!("{text}"),
            Some(text) => self.writer.push(format!("telemetry: {text}\n").as_bytes()),
            None => {}
        }
        // What is not written by now never will be.
        let _all_written = self.writer.finish(REST);
    }
}

/// What the environment says about the own log, if anything.
fn from_environment() -> Result<Option<LogFilter>, Failure> {
    let Some(text) = std::env::var_os(LOG_VARIABLE).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    let filter = text.parse::<LogFilter>();
    filter
        .map(Some)
        .map_err(|error| Failure::Usage(format!("{LOG_VARIABLE}={text:?}: {error}")))
}

/// What is logged: our own log; the exported events from their own level on; and what the log says of
/// itself, unless somebody names that.
fn targets(own: &LogFilter, events: Option<tracing::Level>) -> Targets {
    let about_itself = match own.level() {
        LevelFilter::OFF => LevelFilter::OFF,
        _ => LevelFilter::INFO,
    };
    Targets::new()
        .with_default(own.level())
        .with_target("telemetry::log", about_itself)
        .with_targets(own.targets())
        .with_target(limit::EVENTS, LevelFilter::from(events))
}

/// Colours are for terminals, and for people who did not say no (<https://no-color.org>).
fn wants_colour() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !unwanted
}

/// The standard hook writes to stderr at once, and waits for whoever reads it.
fn panicked(info: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let shown = backtrace.status() == BacktraceStatus::Captured;
    let place = info.location().map(ToString::to_string);
    let payload = info.payload();
    let said = payload.downcast_ref::<&str>().copied();
    let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    tracing::error!(
        target: "telemetry::panic",
        place = place.as_deref(),
        backtrace = shown.then(|| backtrace.to_string()).as_deref(),
        "a panic, which is a defect: {}",
        said.unwrap_or("without a message")
    );
}
