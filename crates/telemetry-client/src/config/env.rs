//! Settings from the environment.
//!
//! Every refusal names the variable, its value and what is allowed. An empty variable counts as
//! unset.

use std::path::PathBuf;
use std::time::Duration;

use telemetry_core::{Address, Overflow, Pattern, SamplingRule};

use super::{BackendKind, Config, ConfigError, MAX_QUEUE_EVENTS};

impl Config {
    /// Reads the environment of this process:
    ///
    /// | variable | value | default |
    /// |---|---|---|
    /// | `TELEMETRY_DISABLED`, `OTEL_SDK_DISABLED` | `1`, `true`: emit nothing | |
    /// | `TELEMETRY_BACKEND` | `none`, `server`, `stderr`, `memory`, or a comma list | `server` with an address, else `none` |
    /// | `TELEMETRY_ADDRESS` | `unix:/path` or loopback `ip:port` | |
    /// | `TELEMETRY_READY_FILE` | a path | |
    /// | `TELEMETRY_WORKER_ID`, `TELEMETRY_POOL` | text | |
    /// | `TELEMETRY_MAX_BUFFER` | events, 1 to 1,048,576 | 1,024 |
    /// | `TELEMETRY_OVERFLOW` | `drop_newest`, `drop_oldest` | `drop_newest` |
    /// | `TELEMETRY_BATCH_DELAY_MS` | milliseconds, 0 is at once | 19 |
    /// | `TELEMETRY_SAMPLING_RATE` | 0 to 1 | 1 |
    /// | `TELEMETRY_SAMPLING_PATTERNS` | `python.*=0.1,tool.*=1` | |
    /// | `TELEMETRY_ALLOW`, `TELEMETRY_DENY` | comma list of globs | |
    /// | `TELEMETRY_RESOURCE_INTERVAL_MS` | milliseconds, 0 is off | 0 |
    /// | `TELEMETRY_EXIT_TIMEOUT_MS` | milliseconds | 500 |
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable, its value and what is allowed.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(|variable| {
            std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// Reads settings from anything that maps the variables of [`from_env`](Self::from_env) to text.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable, its value and what is allowed.
    pub fn from_lookup(
        lookup: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let vars = Variables { lookup };
        let mut config = Self::default();
        if vars.flag("TELEMETRY_DISABLED")? || vars.flag("OTEL_SDK_DISABLED")? {
            config.policy.enabled = false;
            return Ok(config);
        }
        config.address = vars.parse(
            "TELEMETRY_ADDRESS",
            |text| text.parse::<Address>().ok(),
            "unix:/path/to.sock or a loopback IP and port such as 127.0.0.1:0",
        )?;
        config.backends = match vars.get("TELEMETRY_BACKEND") {
            Some(list) => backends(&list)?,
            None if config.address.is_some() => vec![BackendKind::Server],
            None => Vec::new(),
        };
        config.ready_file = vars.get("TELEMETRY_READY_FILE").map(PathBuf::from);
        config.worker_id = vars.get("TELEMETRY_WORKER_ID").unwrap_or_default();
        config.pool_name = vars.get("TELEMETRY_POOL").unwrap_or_default();
        if let Some(events) = vars.parse(
            "TELEMETRY_MAX_BUFFER",
            |text| {
                text.parse()
                    .ok()
                    .filter(|events| (1..=MAX_QUEUE_EVENTS).contains(events))
            },
            &format!("a number of events from 1 to {MAX_QUEUE_EVENTS}"),
        )? {
            config.max_buffer = events;
        }
        if let Some(overflow) =
            vars.parse("TELEMETRY_OVERFLOW", overflow, "drop_newest or drop_oldest")?
        {
            config.overflow = overflow;
        }
        if let Some(delay) = vars.millis("TELEMETRY_BATCH_DELAY_MS")? {
            config.batch_delay = delay;
        }
        if let Some(rate) =
            vars.parse("TELEMETRY_SAMPLING_RATE", rate, "a probability from 0 to 1")?
        {
            config.policy.sampling.push(SamplingRule {
                rate,
                patterns: Vec::new(),
            });
        }
        if let Some(rules) = vars.parse(
            "TELEMETRY_SAMPLING_PATTERNS",
            sampling_rules,
            "a list of glob=rate with rates from 0 to 1, such as python.*=0.1,tool.*=1",
        )? {
            config.policy.sampling.extend(rules);
        }
        config.policy.allow = vars.globs("TELEMETRY_ALLOW");
        config.policy.deny = vars.globs("TELEMETRY_DENY");
        config.resource_interval = vars
            .millis("TELEMETRY_RESOURCE_INTERVAL_MS")?
            .filter(|interval| !interval.is_zero());
        if let Some(timeout) = vars.millis("TELEMETRY_EXIT_TIMEOUT_MS")? {
            config.exit_timeout = timeout;
        }
        config.policy.validate()?;
        Ok(config)
    }
}

/// Reads variables and blames them.
struct Variables<L> {
    /// Where values come from.
    lookup: L,
}

impl<L: Fn(&'static str) -> Option<String>> Variables<L> {
    /// The value of a variable; empty is unset.
    fn get(&self, variable: &'static str) -> Option<String> {
        (self.lookup)(variable).filter(|value| !value.is_empty())
    }

    /// The value of a variable as something else.
    fn parse<T>(
        &self,
        variable: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(variable) else {
            return Ok(None);
        };
        match read(value.trim()) {
            Some(read) => Ok(Some(read)),
            None => Err(ConfigError::Value {
                variable,
                value,
                expected: expected.to_owned(),
            }),
        }
    }

    /// A switch; unset is off.
    fn flag(&self, variable: &'static str) -> Result<bool, ConfigError> {
        let read = |text: &str| match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Some(true),
            "0" | "false" | "no" | "off" => Some(false),
            _ => None,
        };
        Ok(self
            .parse(variable, read, "1, true, yes, on, 0, false, no or off")?
            .unwrap_or(false))
    }

    /// A time in milliseconds.
    fn millis(&self, variable: &'static str) -> Result<Option<Duration>, ConfigError> {
        let read = |text: &str| {
            text.parse::<u32>()
                .ok()
                .map(|ms| Duration::from_millis(ms.into()))
        };
        self.parse(variable, read, "a number of milliseconds")
    }

    /// A list of globs; whether they are valid is for the policy to say.
    fn globs(&self, variable: &'static str) -> Vec<String> {
        let list = self.get(variable).unwrap_or_default();
        Pattern::split_list(&list).map(str::to_owned).collect()
    }
}

/// A list of backends.
fn backends(list: &str) -> Result<Vec<BackendKind>, ConfigError> {
    let kind = |name: &str| match name {
        "none" => Ok(BackendKind::None),
        "server" => Ok(BackendKind::Server),
        "stderr" => Ok(BackendKind::Stderr),
        "memory" => Ok(BackendKind::Memory),
        _ => Err(ConfigError::Value {
            variable: "TELEMETRY_BACKEND",
            value: list.to_owned(),
            expected: "none, server, stderr, memory or a comma list of them".to_owned(),
        }),
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

/// A probability.
fn rate(text: &str) -> Option<f64> {
    text.parse().ok().filter(|rate| (0.0..=1.0).contains(rate))
}

/// A list of `glob=rate`.
fn sampling_rules(text: &str) -> Option<Vec<SamplingRule>> {
    Pattern::split_list(text)
        .map(|rule| {
            let (glob, share) = rule.rsplit_once('=')?;
            Some(SamplingRule {
                rate: rate(share.trim())?,
                patterns: vec![glob.trim().to_owned()],
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&'static str, &str)]) -> Result<Config, String> {
        let lookup = |name| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Config::from_lookup(lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_environment_emits_nothing() {
        let config = read(&[("TELEMETRY_BACKEND", ""), ("TELEMETRY_ADDRESS", "")]).expect("ok");
        assert!(config.backends.is_empty());
        let worker = config.start().expect("nothing to start");
        let outcome = worker.telemetry().emit("tool.result_size", &[], &[], "");
        assert_eq!(outcome, telemetry_core::Outcome::Off);
    }

    #[test]
    fn every_variable_is_read() {
        let config = read(&[
            ("TELEMETRY_BACKEND", "server, stderr"),
            ("TELEMETRY_ADDRESS", "unix:/run/w.sock"),
            ("TELEMETRY_READY_FILE", "/run/ready"),
            ("TELEMETRY_WORKER_ID", "w1"),
            ("TELEMETRY_POOL", "p"),
            ("TELEMETRY_MAX_BUFFER", "7"),
            ("TELEMETRY_OVERFLOW", "drop_oldest"),
            ("TELEMETRY_BATCH_DELAY_MS", "9"),
            ("TELEMETRY_SAMPLING_RATE", "0.5"),
            ("TELEMETRY_SAMPLING_PATTERNS", "python.*=0.1, {a,b}.*=1"),
            ("TELEMETRY_ALLOW", "*"),
            ("TELEMETRY_DENY", "a.*,{b,c}.*"),
            ("TELEMETRY_RESOURCE_INTERVAL_MS", "250"),
            ("TELEMETRY_EXIT_TIMEOUT_MS", "20"),
        ])
        .expect("settings");
        assert_eq!(config.backends, [BackendKind::Server, BackendKind::Stderr]);
        assert_eq!(config.address, Some(Address::Unix("/run/w.sock".into())));
        assert_eq!(config.ready_file, Some("/run/ready".into()));
        assert_eq!(
            (config.worker_id.as_str(), config.pool_name.as_str()),
            ("w1", "p")
        );
        assert_eq!(
            (config.max_buffer, config.overflow),
            (7, Overflow::DropOldest)
        );
        assert_eq!(config.batch_delay, Duration::from_millis(9));
        let rules: Vec<_> = config
            .policy
            .sampling
            .iter()
            .map(|rule| (rule.rate, rule.patterns.join("")))
            .collect();
        let expected = [(0.5, ""), (0.1, "python.*"), (1.0, "{a,b}.*")];
        assert_eq!(rules, expected.map(|(rate, glob)| (rate, glob.to_owned())));
        assert_eq!(config.policy.allow, ["*"]);
        assert_eq!(config.policy.deny, ["a.*", "{b,c}.*"]);
        assert_eq!(config.resource_interval, Some(Duration::from_millis(250)));
        assert_eq!(config.exit_timeout, Duration::from_millis(20));
    }

    #[test]
    fn a_refusal_names_variable_value_and_choices() {
        for (variable, value, expected) in [
            ("TELEMETRY_DISABLED", "maybe", "true"),
            (
                "TELEMETRY_BACKEND",
                "stdout",
                "none, server, stderr, memory",
            ),
            ("TELEMETRY_ADDRESS", "somewhere", "unix:/path"),
            ("TELEMETRY_MAX_BUFFER", "0", "1 to 1048576"),
            (
                "TELEMETRY_OVERFLOW",
                "explode",
                "drop_newest or drop_oldest",
            ),
            ("TELEMETRY_BATCH_DELAY_MS", "5s", "milliseconds"),
            ("TELEMETRY_SAMPLING_RATE", "NaN", "0 to 1"),
            ("TELEMETRY_SAMPLING_PATTERNS", "python.*=2", "glob=rate"),
            ("TELEMETRY_RESOURCE_INTERVAL_MS", "-1", "milliseconds"),
            ("TELEMETRY_EXIT_TIMEOUT_MS", "soon", "milliseconds"),
        ] {
            let error = read(&[(variable, value)]).expect_err(variable);
            assert!(error.contains(&format!("{variable}={value:?}")), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        assert!(
            read(&[("TELEMETRY_DENY", "[")])
                .expect_err("no glob")
                .contains("deny")
        );
    }

    #[test]
    fn disabled_wins_over_everything_else() {
        let vars = [
            ("TELEMETRY_DISABLED", "1"),
            ("TELEMETRY_ADDRESS", "nonsense"),
        ];
        assert!(read(&vars).expect("disabled").backends.is_empty());
    }

    #[test]
    fn a_server_without_an_address_says_what_to_set() {
        let config = read(&[("TELEMETRY_BACKEND", "server")]).expect("settings");
        let error = config.start().expect_err("no address").to_string();
        assert!(error.contains("TELEMETRY_ADDRESS"), "{error}");
    }
}
