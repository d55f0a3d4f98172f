//! The end by a signal: what is queued is sent before the signal takes its course.
//!
//! A thread waits for the signals; the handler does no more than wake it. When one arrives, every
//! telemetry that was registered for it is shut down, each within its time, and then the process ends
//! as it would have ended without.

use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::signal;
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

use crate::telemetry::Telemetry;

/// A signal that ends a process which does nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// `SIGTERM`: the usual request to end.
    Terminate,
    /// `SIGINT`: Ctrl-C.
    Interrupt,
    /// `SIGHUP`: the terminal is gone.
    HangUp,
    /// `SIGQUIT`: Ctrl-\, with a core dump.
    Quit,
    /// `SIGUSR1`.
    User1,
    /// `SIGUSR2`.
    User2,
    /// `SIGALRM`.
    Alarm,
}

impl Signal {
    /// The number of the signal on this platform.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Terminate => signal::SIGTERM,
            Self::Interrupt => signal::SIGINT,
            Self::HangUp => signal::SIGHUP,
            Self::Quit => signal::SIGQUIT,
            Self::User1 => signal::SIGUSR1,
            Self::User2 => signal::SIGUSR2,
            Self::Alarm => signal::SIGALRM,
        }
    }
}

/// Why signals cannot be waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// The system refuses the handler.
    #[error("cannot set a handler for {signals:?}: {source}")]
    Handler {
        /// For which signals.
        signals: Vec<Signal>,
        /// Why.
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("no thread to wait for signals: {0}")]
    Thread(#[source] io::Error),
}

/// What is to be shut down, and when.
#[derive(Debug)]
struct Registration {
    telemetry: Telemetry,
    signals: Vec<Signal>,
    timeout: Duration,
}

/// All of them. Held from a signal to the end of the process, so that no thread ends it before every
/// telemetry is shut down.
static REGISTERED: Mutex<Vec<Registration>> = Mutex::new(Vec::new());

impl Telemetry {
    /// Ends telemetry within `timeout` when one of `signals` arrives, and then the process by that
    /// signal: its exit status is what it would have been without. A second signal of the kind does not
    /// cut the time short. None at all means [`Signal::Terminate`].
    ///
    /// For a program without handlers of its own. One that has them should call
    /// [`shutdown`](Self::shutdown) where they end: here its handlers run, and the process ends all the
    /// same. A signal that is ignored now, as `nohup` has it, stays ignored (this is looked up on Linux
    /// only). As the first process of a container, which is not ended by a signal that it does not
    /// handle, the program is merely flushed.
    ///
    /// A forked child that does not call `exec` has no thread that would act on the signal.
    ///
    /// # Errors
    ///
    /// [`SignalError`] if the system gives neither handler nor thread; nothing has changed then.
    pub fn flush_on_signal(
        &self,
        signals: &[Signal],
        timeout: Duration,
    ) -> Result<(), SignalError> {
        let mut chosen = if signals.is_empty() {
            vec![Signal::Terminate]
        } else {
            signals.to_vec()
        };
        chosen.retain(|signal| !is_ignored(*signal));
        if chosen.is_empty() {
            return Ok(());
        }
        let numbers = chosen.iter().map(|signal| signal.number());
        let arriving = Signals::new(numbers).map_err(|source| SignalError::Handler {
            signals: chosen.clone(),
            source,
        })?;
        let handle = arriving.handle();
        let thread = std::thread::Builder::new().name("telemetry-signal".to_owned());
        // Registered first: the signal may be here already.
        let mut all = registered();
        all.push(Registration {
            telemetry: self.clone(),
            signals: chosen,
            timeout,
        });
        // Held meanwhile, so that the last one is still this one.
        if let Err(error) = thread.spawn(move || wait(arriving)) {
            all.pop();
            Handle::close(&handle);
            return Err(SignalError::Thread(error));
        }
        Ok(())
    }
}

/// Waits for the first signal and ends the process by it.
fn wait(mut arriving: Signals) {
    for number in arriving.forever() {
        let registered = registered();
        let spared = std::process::id() == 1;
        let meant = |it: &&Registration| it.signals.iter().any(|it| it.number() == number);
        std::thread::scope(|scope| {
            for it in registered.iter().filter(meant) {
                scope.spawn(|| {
                    if spared {
                        it.telemetry.flush(it.timeout);
                    } else {
                        it.telemetry.shutdown(it.timeout);
                    }
                });
            }
        });
        // The system spares the first process of a container what it does not handle.
        if spared {
            continue;
        }
        if let Err(error) = emulate_default_handler(number) {
            tracing::error!(%error, number, "the process does not end by its signal");
        }
        drop(registered);
    }
}

/// Whether a signal is ignored, as far as can be told.
fn is_ignored(signal: Signal) -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return false;
    };
    ignored_mask(&status).is_some_and(|mask| mask >> (signal.number() - 1) & 1 == 1)
}

/// The signals that are ignored, lowest first, from the text of `/proc/self/status`.
fn ignored_mask(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|it| it.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// What is registered.
fn registered() -> std::sync::MutexGuard<'static, Vec<Registration>> {
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_mask() {
        let status = "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert_eq!(ignored_mask(status), Some(0x1001));
        assert_eq!(ignored_mask("Name:\tx\n"), None);
    }
}
