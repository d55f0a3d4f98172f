//! Telemetry in one line: what the environment says, or one way that the program names.
//!
//! All three return at once and wait for nobody.

use telemetry_core::Address;

use crate::config::{BackendKind, Config, ConfigError, Worker};

/// Does what the environment says: connects to `TELEMETRY_MANAGER`, serves at `TELEMETRY_ADDRESS`, writes
/// to stderr, or nothing; see [`Config::from_env`]. Never fails: wrong variables have their defaults, what
/// cannot be started is left out, and both are told by `tracing` as warnings.
///
/// ```no_run
/// let mut worker = telemetry_client::start();
/// worker.telemetry().emit("tool.result_size", &[("bytes", 512.into())], &[("tool", "grep")], "");
/// worker.shutdown();
/// ```
pub fn start() -> Worker {
    let (config, faults) = Config::from_env_lenient();
    for fault in faults {
        tracing::warn!(%fault, "a setting of telemetry is wrong and has its default");
    }
    if config.backends.is_empty() && config.policy.enabled {
        tracing::warn!(
            "telemetry is off: set TELEMETRY_MANAGER to unix:/path/to/manager.sock, or \
             TELEMETRY_DISABLED=1 to say so"
        );
    }
    config.start().unwrap_or_else(|error| {
        tracing::warn!(%error, "telemetry is off");
        Worker::off()
    })
}

/// Connects to a manager at `unix:/path`, or to one of several in a comma list, whenever there is one. The
/// rest is as the environment says.
///
/// # Errors
///
/// [`ConfigError`] for an address that can never be connected to.
pub fn connect(managers: &str) -> Result<Worker, ConfigError> {
    let managers = Address::parse_list(managers)?;
    let (config, _told_by_start) = Config::from_env_lenient();
    let config = Config {
        backends: vec![BackendKind::Connect],
        managers,
        ..config
    };
    config.start()
}

/// Listens at `unix:/path` or a loopback `ip:port` for a manager that dials; without an address at
/// `TELEMETRY_ADDRESS`, else at a [private unix socket](crate::serve::Server::start). A port needs
/// `TELEMETRY_TOKEN_FILE` or `TELEMETRY_INSECURE=1`. The rest is as the environment says.
///
/// ```no_run
/// let worker = telemetry_client::serve(None)?;
/// let other = telemetry_client::serve("unix:/run/app/worker.sock")?;
/// # Ok::<(), telemetry_client::ConfigError>(())
/// ```
///
/// # Errors
///
/// [`ConfigError`] for an address that is not safe, not free or not an address.
pub fn serve<'a>(address: impl Into<Option<&'a str>>) -> Result<Worker, ConfigError> {
    let address = address.into().map(str::parse).transpose()?;
    let (config, _told_by_start) = Config::from_env_lenient();
    let config = Config {
        backends: vec![BackendKind::Server],
        address: address.or(config.address),
        ..config
    };
    config.start()
}
