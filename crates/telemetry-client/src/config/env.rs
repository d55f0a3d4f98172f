//! Settings from the environment.
//!
//! Every refusal names the variable, its value and what is allowed. An empty variable counts as
//! unset.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use telemetry_core::{
    Address, OVERFLOW_UID, Token, TraceContext,
    catalog::Pattern,
    emit::{Overflow, PolicySpec, SamplingRule},
};

use super::{BackendKind, Config, ConfigError, MAX_QUEUE_EVENTS, token};

/// Most labels.
const MAX_LABELS: usize = 8;
/// Most bytes of one label, name and value.
const MAX_ONE_LABEL_BYTES: usize = 64;

/// Says which file holds the token.
pub(super) const TOKEN_FILE: &str = "TELEMETRY_TOKEN_FILE";
/// Says at which descriptor it can be read.
const TOKEN_FD: &str = "TELEMETRY_TOKEN_FD";
/// Longest time that is waited for, in milliseconds: seven weeks, which every clock can add.
const LONGEST_MILLIS: u64 = u32::MAX as u64;

impl Config {
    /// Reads the environment of this process:
    ///
    /// | variable | value | default |
    /// |---|---|---|
    /// | `TELEMETRY_DISABLED`, `OTEL_SDK_DISABLED` | `1`, `true`: emit nothing; what the first says counts before the second | |
    /// | `TELEMETRY_BACKEND` | `none`, `connect`, `server`, `stderr`, `memory`, or a comma list | `connect` with a manager, else `server` with an address, else `none` |
    /// | `TELEMETRY_MANAGER` | `unix:/path` of the manager to connect to, `host:port` with TLS, or a comma list | |
    /// | `TELEMETRY_MANAGER_UID` | the number of a user whose manager is connected to at a unix socket, besides our own and root | |
    /// | `TELEMETRY_ADDRESS` | `unix:/path` or loopback `ip:port` to listen at, any `ip:port` with TLS | a private unix socket |
    /// | `TELEMETRY_TOKEN_FILE` | a path to the token that is shown at a port, by a manager or to one | |
    /// | `TELEMETRY_TOKEN_FD` | a descriptor to read the token from, once; it is closed then | |
    /// | `TELEMETRY_INSECURE` | `1`, `true`: serve a port without a token | |
    /// | `TELEMETRY_READY_FILE` | a path | |
    /// | `TELEMETRY_WORKER_ID`, `TELEMETRY_POOL` | text | |
    /// | `TELEMETRY_LABELS` | `zone=a,release=7`: what those who run it call it; rules can be about workers with a label. At most 8 of 64 bytes | |
    /// | `TELEMETRY_TLS_CA`, `TELEMETRY_TLS_CERT`, `TELEMETRY_TLS_KEY` | PEM files: whom a manager's certificate must be signed by, and our own; a port is served with TLS if there is one (feature `tls`) | |
    /// | `TELEMETRY_TLS_SERVER_NAME` | the name in the manager's certificate, where it is not the host of its address | |
    /// | `TELEMETRY_MAX_BUFFER` | events, 1 to 1,048,576 | 8,192 |
    /// | `TELEMETRY_OVERFLOW` | `drop_newest`, `drop_oldest` | `drop_newest` |
    /// | `TELEMETRY_BATCH_DELAY_MS` | milliseconds, 0 is at once | 19 |
    /// | `TELEMETRY_SAMPLING_RATE` | 0 to 1 | 1 |
    /// | `TELEMETRY_SAMPLING_PATTERNS` | `python.*=0.1,tool.*=1` | |
    /// | `TELEMETRY_ALLOW`, `TELEMETRY_DENY` | comma list of globs | |
    /// | `TELEMETRY_RESOURCE_INTERVAL_MS` | milliseconds, 0 is off | 0 |
    /// | `TELEMETRY_EXIT_TIMEOUT_MS` | milliseconds | 500 |
    /// | `TRACEPARENT` | the span of the process that started this one, as of W3C | |
    /// | `BAGGAGE` | of it `correlation_id`, that of the same | |
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first wrong variable, its value and what is allowed.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(of_process)
    }

    /// As [`from_env`](Self::from_env), for programs that go on whatever their environment says: a wrong
    /// variable has its default, and is told of.
    #[must_use]
    pub fn from_env_lenient() -> (Self, Vec<ConfigError>) {
        Self::from_lookup_lenient(of_process)
    }

    /// Reads settings from anything that maps the variables of [`from_env`](Self::from_env) to text.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first wrong variable, its value and what is allowed.
    pub fn from_lookup(
        lookup: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let (config, faults) = Self::from_lookup_lenient(lookup);
        match faults.into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok(config),
        }
    }

    /// As [`from_env_lenient`](Self::from_env_lenient), from anything.
    pub fn from_lookup_lenient(
        lookup: impl Fn(&'static str) -> Option<String>,
    ) -> (Self, Vec<ConfigError>) {
        let vars = Variables {
            lookup,
            faults: RefCell::default(),
        };
        let config = Self::read(&vars);
        (config, vars.faults.into_inner())
    }

    fn read<L: Fn(&'static str) -> Option<String>>(vars: &Variables<L>) -> Self {
        let mut config = Self::default();
        let own = vars.flag("TELEMETRY_DISABLED");
        if own.or_else(|| vars.flag("OTEL_SDK_DISABLED")) == Some(true) {
            config.policy.enabled = false;
            return config;
        }
        config.managers = vars
            .parse(
                "TELEMETRY_MANAGER",
                |text| Address::parse_list(text).ok(),
                "unix:/path/to/manager.sock, host:port, or a comma list of such",
            )
            .unwrap_or_default();
        config.manager_uid = vars.parse(
            "TELEMETRY_MANAGER_UID",
            uid,
            "the number of a user such as 990, but not 65534, which stands for users that cannot be seen",
        );
        config.address = vars.parse(
            "TELEMETRY_ADDRESS",
            |text| text.parse::<Address>().ok(),
            "unix:/path/to.sock or a loopback IP and port such as 127.0.0.1:0",
        );
        config.token = vars.token();
        config.insecure = vars.flag("TELEMETRY_INSECURE") == Some(true);
        let chosen = vars.parse(
            "TELEMETRY_BACKEND",
            backends,
            "none, connect, server, stderr, memory or a comma list of them",
        );
        config.backends = match chosen {
            Some(chosen) => chosen,
            None if !config.managers.is_empty() => vec![BackendKind::Connect],
            None if config.address.is_some() => vec![BackendKind::Server],
            None => Vec::new(),
        };
        config.ready_file = vars.get("TELEMETRY_READY_FILE").map(PathBuf::from);
        config.worker_id = vars.get("TELEMETRY_WORKER_ID").unwrap_or_default();
        config.pool_name = vars.get("TELEMETRY_POOL").unwrap_or_default();
        config.labels = vars
            .parse(
                "TELEMETRY_LABELS",
                labels,
                &format!(
                    "a list of key=value such as zone=a,release=7, at most {MAX_LABELS} and each of at most \
                     {MAX_ONE_LABEL_BYTES} bytes"
                ),
            )
            .unwrap_or_default();
        #[cfg(feature = "tls")]
        {
            let path = |variable| vars.get(variable).map(PathBuf::from);
            config.tls.ca = path("TELEMETRY_TLS_CA");
            config.tls.cert = path("TELEMETRY_TLS_CERT");
            config.tls.key = path("TELEMETRY_TLS_KEY");
            config.tls.server_name = vars.get("TELEMETRY_TLS_SERVER_NAME");
        }
        if let Some(events) = vars.parse(
            "TELEMETRY_MAX_BUFFER",
            |text| {
                text.parse()
                    .ok()
                    .filter(|events| (1..=MAX_QUEUE_EVENTS).contains(events))
            },
            &format!("a number of events from 1 to {MAX_QUEUE_EVENTS}"),
        ) {
            config.max_buffer = events;
        }
        if let Some(overflow) =
            vars.parse("TELEMETRY_OVERFLOW", overflow, "drop_newest or drop_oldest")
        {
            config.overflow = overflow;
        }
        if let Some(delay) = vars.millis("TELEMETRY_BATCH_DELAY_MS") {
            config.batch_delay = delay;
        }
        if let Some(rate) = vars.parse("TELEMETRY_SAMPLING_RATE", rate, "a probability from 0 to 1")
        {
            config.policy.sampling.push(SamplingRule::of_all(rate));
        }
        if let Some(rules) = vars.parse(
            "TELEMETRY_SAMPLING_PATTERNS",
            sampling_rules,
            "a list of glob=rate with rates from 0 to 1, such as python.*=0.1,tool.*=1",
        ) {
            config.policy.sampling.extend(rules);
        }
        config.policy.allow = vars.globs("TELEMETRY_ALLOW");
        config.policy.deny = vars.globs("TELEMETRY_DENY");
        config.resource_interval = vars
            .millis("TELEMETRY_RESOURCE_INTERVAL_MS")
            .filter(|interval| !interval.is_zero());
        if let Some(limit) = vars.millis("TELEMETRY_STALL_MS") {
            config.stall_limit = Some(limit).filter(|limit| !limit.is_zero());
        }
        if let Some(timeout) = vars.millis("TELEMETRY_EXIT_TIMEOUT_MS") {
            config.exit_timeout = timeout;
        }
        // Both come from other processes: what is not well formed is none.
        let caller = vars.get("TRACEPARENT");
        config.caller = caller.and_then(|text| TraceContext::parse(text.trim()).ok());
        let baggage = vars.get("BAGGAGE").unwrap_or_default();
        config.correlation_id = of_baggage(&baggage).unwrap_or_default();
        if let Err(error) = config.policy.validate() {
            config.policy = PolicySpec::default();
            vars.faults.borrow_mut().push(error.into());
        }
        config
    }
}

/// The environment of this process.
fn of_process(variable: &'static str) -> Option<String> {
    std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
}

/// Reads variables and blames them.
struct Variables<L> {
    /// Where values come from.
    lookup: L,
    /// Those that are wrong, in the order they were read.
    faults: RefCell<Vec<ConfigError>>,
}

impl<L: Fn(&'static str) -> Option<String>> Variables<L> {
    /// The value of a variable; empty is unset.
    fn get(&self, variable: &'static str) -> Option<String> {
        (self.lookup)(variable).filter(|value| !value.is_empty())
    }

    /// The value of a variable as something else; a wrong one is noted and as good as none.
    fn parse<T>(
        &self,
        variable: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
        expected: &str,
    ) -> Option<T> {
        let value = self.get(variable)?;
        let read = read(value.trim());
        if read.is_none() {
            self.faults.borrow_mut().push(ConfigError::Value {
                variable,
                value,
                expected: expected.to_owned(),
            });
        }
        read
    }

    /// A switch, if it is set.
    fn flag(&self, variable: &'static str) -> Option<bool> {
        let read = |text: &str| match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Some(true),
            "0" | "false" | "no" | "off" => Some(false),
            _ => None,
        };
        self.parse(variable, read, "1, true, yes, on, 0, false, no or off")
    }

    /// A time in milliseconds; nobody tells one that is longer than [`LONGEST_MILLIS`] from that.
    fn millis(&self, variable: &'static str) -> Option<Duration> {
        let read = |text: &str| {
            let millis = text.parse::<u64>().ok();
            millis.map(|millis| Duration::from_millis(millis.min(LONGEST_MILLIS)))
        };
        self.parse(variable, read, "a number of milliseconds")
    }

    /// The token of a file or a descriptor, of which the first counts.
    fn token(&self) -> Option<Token> {
        let blame = |variable, value: &str, problem| {
            let value = value.to_owned();
            self.faults.borrow_mut().push(ConfigError::Token {
                variable,
                value,
                problem,
            });
        };
        if let Some(path) = self.get(TOKEN_FILE) {
            let token = token::of_file(Path::new(&path));
            return token
                .map_err(|problem| blame(TOKEN_FILE, &path, problem))
                .ok();
        }
        let number: i32 =
            self.parse(TOKEN_FD, |text| text.parse().ok(), "a number of 3 or more")?;
        let token = token::of_descriptor(number);
        token
            .map_err(|problem| blame(TOKEN_FD, &number.to_string(), problem))
            .ok()?
    }

    /// A list of globs; whether they are valid is for the policy to say.
    fn globs(&self, variable: &'static str) -> Vec<String> {
        let list = self.get(variable).unwrap_or_default();
        Pattern::split_list(&list).map(str::to_owned).collect()
    }
}

/// The number of a user who can be told from others.
fn uid(text: &str) -> Option<u32> {
    text.parse()
        .ok()
        .filter(|uid| ![OVERFLOW_UID, u32::MAX].contains(uid))
}

/// A list of backends.
fn backends(list: &str) -> Option<Vec<BackendKind>> {
    let kind = |name: &str| match name {
        "none" => Some(BackendKind::None),
        "connect" => Some(BackendKind::Connect),
        "server" => Some(BackendKind::Server),
        "stderr" => Some(BackendKind::Stderr),
        "memory" => Some(BackendKind::Memory),
        _ => None,
    };
    list.split(',').map(|name| kind(name.trim())).collect()
}

/// What a full queue does.
fn overflow(text: &str) -> Option<Overflow> {
    match text {
        "drop_newest" => Some(Overflow::DropNewest),
        "drop_oldest" => Some(Overflow::DropOldest),
        _ => None,
    }
}

/// The correlation id in a `baggage` of W3C: members with commas between them, the value in percent encoding.
fn of_baggage(baggage: &str) -> Option<String> {
    let mut members = baggage.split(',').filter_map(|it| it.split_once('='));
    let (_, value) = members.find(|(key, _)| key.trim() == "correlation_id")?;
    let mut rest = value.split(';').next()?.trim().as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let hex = after.first_chunk::<2>().filter(|_| *first == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(decoded).ok()
}

/// A list of `key=value`.
fn labels(text: &str) -> Option<BTreeMap<String, String>> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        let is_allowed = !key.is_empty() && key.len() + value.len() <= MAX_ONE_LABEL_BYTES;
        is_allowed.then(|| (key.to_owned(), value.to_owned()))
    };
    let labels: Option<BTreeMap<_, _>> = text.split(',').map(pair).collect();
    labels.filter(|labels| labels.len() <= MAX_LABELS)
}

/// A probability.
fn rate(text: &str) -> Option<f64> {
    text.parse().ok().filter(|rate| (0.0..=1.0).contains(rate))
}

/// A list of `glob=rate`.
fn sampling_rules(text: &str) -> Option<Vec<SamplingRule>> {
    Pattern::split_list(text)
        .map(|rule| {
            let (glob, share) = rule.rsplit_once('=')?;
            Some(SamplingRule::new(rate(share.trim())?, [glob.trim()]))
        })
        .collect()
}

#[cfg(test)]
mod tests;
