//! Every variable, right and wrong.

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
fn what_the_process_was_started_under_is_read_and_rubbish_is_none() {
    let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    for (traceparent, baggage, correlation_id) in [
        (
            caller,
            "user=1, correlation_id = request%201%2C%20or%20so;p=1,x=2",
            "request 1, or so",
        ),
        (caller, "correlation_id=100%,correlation_id=second", "100%"),
        (caller, "correlation_id=%zz%41", "%zzA"),
        (caller, "correlation_id=%ff", ""),
        ("rubbish", "rubbish", ""),
        ("", "", ""),
    ] {
        let config = read(&[("TRACEPARENT", traceparent), ("BAGGAGE", baggage)]).expect("ok");
        let read = config.caller.map(|caller| caller.to_string());
        assert_eq!(read.as_deref(), (traceparent == caller).then_some(caller));
        assert_eq!(config.correlation_id, correlation_id, "{baggage}");
    }
}

#[test]
fn every_variable_is_read() {
    let config = read(&[
        ("TELEMETRY_BACKEND", "server, stderr"),
        ("TELEMETRY_MANAGER", "unix:/run/m.sock"),
        ("TELEMETRY_MANAGER_UID", "990"),
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
    assert_eq!(config.managers, [Address::Unix("/run/m.sock".into())]);
    assert_eq!(config.manager_uid, Some(990));
    assert_eq!(config.connection().manager_uid, Some(990));
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
            "none, connect, server, stderr, memory",
        ),
        ("TELEMETRY_MANAGER", "unix:/m.sock,", "unix:/path"),
        ("TELEMETRY_MANAGER_UID", "www-data", "the number of a user"),
        (
            "TELEMETRY_MANAGER_UID",
            "65534",
            "users that cannot be seen",
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
fn who_is_lenient_gets_the_rest_and_every_fault() {
    let vars = |name| match name {
        "TELEMETRY_MAX_BUFFER" => Some("many".to_owned()),
        "TELEMETRY_DENY" => Some("[".to_owned()),
        "TELEMETRY_WORKER_ID" => Some("w1".to_owned()),
        _ => None,
    };
    let (config, faults) = Config::from_lookup_lenient(vars);
    assert_eq!(config.worker_id, "w1");
    assert_eq!(config.max_buffer, Config::default().max_buffer);
    assert_eq!(config.policy, PolicySpec::default());
    assert_eq!(faults.len(), 2, "{faults:?}");
}

#[test]
fn a_manager_is_connected_to_unless_another_backend_is_named() {
    let both = [
        ("TELEMETRY_MANAGER", "unix:/run/m.sock"),
        ("TELEMETRY_ADDRESS", "unix:/run/w.sock"),
    ];
    assert_eq!(read(&both).expect("ok").backends, [BackendKind::Connect]);
    assert_eq!(
        read(&both[1..]).expect("ok").backends,
        [BackendKind::Server]
    );
    let named = [both[0], both[1], ("TELEMETRY_BACKEND", "server")];
    assert_eq!(read(&named).expect("ok").backends, [BackendKind::Server]);
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
fn a_server_without_an_address_has_a_socket_of_its_own() {
    let config = read(&[("TELEMETRY_BACKEND", "server")]).expect("settings");
    assert_eq!(config.address, None);
    let worker = config.start().expect("a private socket");
    drop(worker);
}

#[test]
fn a_port_needs_a_token_or_a_word() {
    let port = [("TELEMETRY_ADDRESS", "127.0.0.1:0")];
    let refused = read(&port).expect("settings").start();
    let refused = refused.expect_err("nobody would be kept out").to_string();
    assert!(refused.contains("TELEMETRY_TOKEN_FILE"), "{refused}");
    let insecure = [port[0], ("TELEMETRY_INSECURE", "1")];
    let _worker = read(&insecure)
        .expect("settings")
        .start()
        .expect("a server");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    let path = file.to_str().expect("text").to_owned();
    let guarded = || read(&[port[0], ("TELEMETRY_TOKEN_FILE", &path)]);
    let refused = guarded().expect_err("there is no file");
    assert!(
        refused.contains("TELEMETRY_TOKEN_FILE") && refused.contains(&path),
        "{refused}"
    );
    std::fs::write(&file, "0123456789abcdef").expect("a file");
    let config = guarded().expect("settings");
    assert!(
        config
            .token
            .as_ref()
            .is_some_and(|token| token.is(b"0123456789abcdef"))
    );
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
    let _worker = config.start().expect("a server");
}

#[test]
fn labels_are_few_and_short_and_come_into_the_hello() {
    let of = |text: &str| read(&[("TELEMETRY_LABELS", text)]);
    let config = of("zone=a, tier = b").expect("two labels");
    let expected = [("tier", "b"), ("zone", "a")].map(|(key, value)| (key.into(), value.into()));
    assert_eq!(config.stream().identity.labels, expected.into());
    let nine: Vec<_> = (0..9).map(|n| format!("k{n}=v")).collect();
    assert!(of(&nine[..8].join(",")).is_ok());
    let error = of(&nine.join(",")).expect_err("nine labels");
    assert!(
        error.contains("at most 8 and each of at most 64 bytes"),
        "{error}"
    );
    assert!(of(&format!("k={}", "v".repeat(63))).is_ok());
    assert!(of(&format!("k={}", "v".repeat(64))).is_err());
    assert!(of("=a").is_err());
}
