//! What the file means, and what is said when it is wrong.

mod endpoint;

use std::time::Duration;

use super::*;
use crate::session::MAX_DIALS_PER_SECOND;

fn parse(content: &str) -> Config {
    Config::parse(content, "t.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// Checks the whole message.
fn refused(content: &str, expected: &str) {
    match Config::parse(content, "t.toml") {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(error) => assert_eq!(error.to_string(), expected),
    }
}

#[test]
fn empty_file_is_a_manager_without_anything() {
    let config = parse("");
    assert!(config.pools.is_empty() && config.http.is_none() && config.log.is_none());
    assert_eq!(config.series_limit, 2_000);
    assert_eq!(config.dials_per_second, MAX_DIALS_PER_SECOND);
    assert_eq!(config.telemetry, WorkerTelemetry::default());
}

#[test]
fn every_setting_is_read() {
    let config = parse(
        r#"
        [manager]
        node = "n1"
        run_dir = "/run/t"
        on_manager_exit = "stop"
        dials_per_second = 200
        [accept]
        listen = "unix:/run/t/door.sock"
        grace = "5s"
        [http]
        listen = "127.0.0.1:1234"
        allowed_hosts = ["metrics.internal"]
        [telemetry]
        enabled = false
        transport = "stderr"
        sampling_rate = 0.25
        max_buffer = 2_048
        excluded_events = ["python.gc.*"]
        resource_interval = "500ms"
        [[pool]]
        name = "a"
        command = ["python3", "a.py"]
        size = 3
        env = { B = "2", A = "1" }
        cwd = "/tmp"
        grace = "2s"
        max_lifetime = "1h"
        status_interval = "1s"
        [[pool]]
        name = "b"
        command = ["b"]
        [[endpoint]]
        worker_id = "w"
        address = "unix:/run/w.sock"
        pool = "a"
        [watch]
        directory = "/run/watch"
        pool = "c"
        [exporters.log]
        level = "debug"
        patterns = ["snakepit.pool.*"]
        [exporters.prometheus]
        series_limit = 10
        [catalog.keys]
        tokens = { unit = "count" }
        depth = { unit = "count", kind = "gauge" }
        tenant = { label = true }
        [catalog.spans]
        inference = { measurements = ["tokens"], metadata = ["model", "tenant"] }
        [catalog.events]
        "cache.evicted" = { measurements = ["bytes", "depth"] }
        "#,
    );
    assert_eq!(config.dials_per_second, 200);
    assert_eq!(config.node.as_deref(), Some("n1"));
    assert_eq!(config.run_dir.as_deref(), Some(Path::new("/run/t")));
    assert_eq!(config.on_manager_exit, OnManagerExit::Stop);
    let accept = config.accept.unwrap();
    assert_eq!(
        accept.socket.as_ref().expect("on").to_string(),
        "unix:/run/t/door.sock"
    );
    assert_eq!(accept.grace, Duration::from_secs(5));
    let http = config.http.unwrap();
    assert_eq!(http.listen.map(|it| it.port()), Some(1234));
    assert_eq!(http.allowed_hosts.len(), 1);
    assert_eq!(
        config.telemetry,
        WorkerTelemetry {
            enabled: false,
            transport: Transport::Stderr,
            sampling_rate: 0.25,
            max_buffer: Some(2_048),
            excluded_events: vec!["python.gc.*".into()],
            resource_interval: Some(Duration::from_millis(500)),
        }
    );
    let [a, b] = config.pools.as_slice() else {
        panic!("{:?}", config.pools)
    };
    assert_eq!(
        (a.size, a.grace, a.run_dir.as_path()),
        (3, Duration::from_secs(2), "/run/t".as_ref())
    );
    assert_eq!(a.env, [("A".into(), "1".into()), ("B".into(), "2".into())]);
    assert_eq!(a.max_lifetime, Some(Duration::from_secs(3_600)));
    assert_eq!((b.size, b.telemetry.transport), (1, Transport::Stderr));
    assert_eq!(b.manager, accept.socket);
    assert_eq!(config.endpoints.len(), 1);
    assert_eq!(config.watch.unwrap().pool.as_deref(), Some("c"));
    assert_eq!(config.log.unwrap().level, tracing::Level::DEBUG);
    assert_eq!(config.series_limit, 10);
    assert!(config.catalog.by_wire_name("inference.stop").is_some());
    assert!(config.catalog.by_wire_name("cache.evicted").is_some());
}

#[test]
fn unknown_key_is_refused_with_its_place_and_the_nearest_known_one() {
    refused(
        "[http]\nlisten = \"127.0.0.1:1\"\n  alowed_hosts = []\n",
        "t.toml:3:3: unknown key \"alowed_hosts\" in [http]; did you mean \"allowed_hosts\"? \
         (known: allow_remote, allowed_hosts, listen, public, socket, tls, token_file)",
    );
    refused(
        "[telemtry]\n",
        "t.toml:1:2: unknown key \"telemtry\"; did you mean \"telemetry\"? \
         (known: accept, catalog, discover, endpoint, exporters, http, log, manager, policy, pool, telemetry, tls, watch)",
    );
    refused(
        "[watch]\ndirectory = \"/x\"\nzzz = 1",
        "t.toml:3:1: unknown key \"zzz\" in [watch] (known: directory, pool)",
    );
    refused(
        "[exporters.prometheus]\nserie_limit = 1",
        "t.toml:2:1: unknown key \"serie_limit\" in [exporters.prometheus]; \
         did you mean \"series_limit\"? (known: series_limit)",
    );
}

#[test]
fn wrong_value_is_refused_with_what_is_allowed() {
    refused(
        "[telemetry]\nsampling_rate = 1.5",
        "t.toml:2:17: telemetry.sampling_rate = 1.5 is not allowed; it must be a number from 0 to 1",
    );
    refused(
        "[telemetry]\nsampling_rate = nan",
        "t.toml:2:17: telemetry.sampling_rate = nan is not allowed; it must be a number from 0 to 1",
    );
    refused(
        "[telemetry]\nresource_interval = 10",
        "t.toml:2:21: telemetry.resource_interval = 10 is not allowed; \
         it must be a number and ms, s, m, h or d, e.g. \"500ms\" or \"10s\"",
    );
    refused(
        "[telemetry]\ntransport = \"grpc\"",
        "t.toml:2:13: telemetry.transport: \"grpc\" is not allowed; it must be \"stream\" or \"stderr\"",
    );
    refused(
        "[[pool]]\nname = \"p\"\ncommand = [\"x\"]\nsize = 0",
        "t.toml:4:8: pool.size = 0 is not allowed; it must be a whole number from 1 to 1024",
    );
    refused(
        "[[pool]]\nname = \"p\"\ncommand = \"x\"",
        "t.toml:3:11: pool.command = \"x\" is not allowed; \
         it must be a list of texts, e.g. [\"a\", \"b\"]",
    );
    refused(
        "[http]\nlisten = \"localhost\"",
        "t.toml:2:10: http.listen: \"localhost\" is no address and port, e.g. \"127.0.0.1:9464\", \
         nor \"off\"",
    );
    refused(
        "[exporters.log]\nlevel = \"loud\"",
        "t.toml:2:9: exporters.log.level: \"loud\" is not allowed; \
         use error, warn, info, debug or trace",
    );
    refused(
        "pool = 1",
        "t.toml:1:8: pool = 1 is not allowed; it must be tables; begin each with [[pool]]",
    );
}

#[test]
fn missing_and_doubled_keys_are_refused() {
    refused(
        "[[pool]]\nname = \"p\"",
        "t.toml:1:1: [[pool]] needs the key \"command\"",
    );
    refused(
        "\n[watch]",
        "t.toml:2:1: [watch] needs the key \"directory\"",
    );
    refused(
        "[[pool]]\nname = \"p\"\ncommand = [\"x\"]\n[[pool]]\nname = \"p\"\ncommand = [\"x\"]",
        "t.toml:5:8: pool.name: \"p\" is used twice; name each pool once",
    );
    refused(
        "[[pool]]\nname = \"a/b\"\ncommand = [\"x\"]",
        "t.toml:1:1: pool \"a/b\": name: use 1 to 64 of the characters A-Z a-z 0-9 _ -",
    );
}

#[test]
fn mistakes_in_the_catalog_have_a_place() {
    refused(
        "[catalog.keys]\nx = { unit = \"parsec\" }",
        "t.toml:2:14: catalog.keys.\"x\".unit: unknown unit \"parsec\"; allowed: nanoseconds, \
         milliseconds, seconds, bytes, count, percent, ratio, celsius, watts, unix_nanoseconds, none",
    );
    refused(
        "[catalog.keys]\nx = { kind = \"gauge\", label = true }",
        "t.toml:2:5: key \"x\" needs `unit` (and perhaps `kind`) to be a measurement, \
         `label` to be metadata, or both; one that is built in may have `buckets` alone",
    );
    refused(
        "[catalog]\nmode = \"strict\"",
        "t.toml:2:8: catalog.mode: \"strict\" is not allowed; it must be \"observe\" or \"enforce\"",
    );
}

#[test]
fn what_is_not_in_the_catalog_passes_unless_its_pool_says_otherwise() {
    assert_eq!(parse("").catalog_mode, CatalogMode::Observe);
    let config = parse(
        r#"
        [catalog]
        mode = "enforce"
        keys = { weight = { unit = "bytes", kind = "gauge", label = false } }
        [[pool]]
        name = "free"
        command = ["x"]
        catalog = "observe"
        [[pool]]
        name = "other"
        command = ["x"]
        "#,
    );
    assert_eq!(config.catalog_mode, CatalogMode::Enforce);
    let modes: Vec<_> = config.pool_catalog_modes.iter().collect();
    assert_eq!(modes, [(&"free".to_owned(), &CatalogMode::Observe)]);
    // One word may be a key of both kinds.
    assert!(config.catalog.measurement_key("weight").is_some());
    assert!(config.catalog.metadata_key("weight").is_some());
    let buckets = "[catalog.keys]\nduration = { buckets = [1e6, 2_000_000] }";
    let catalog = parse(buckets).catalog;
    let duration = catalog.measurement_key("duration").unwrap();
    assert_eq!(duration.buckets.as_deref(), Some(&[1e6, 2e6][..]));
    refused(
        "[catalog.keys]\nduration = { buckets = [2, 1] }",
        "t.toml:1:2: [catalog]: the buckets of \"duration\" are not allowed; they are 1 to 32 rising numbers above \
         0, of a measurement key",
    );
}

#[test]
fn file_that_is_no_toml_is_refused_with_its_place() {
    let error = Config::parse("[http\n", "t.toml").unwrap_err().to_string();
    assert!(error.starts_with("t.toml:1:"), "{error}");
}

#[test]
fn file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nowhere/t.toml"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot read the configuration \"/nowhere/t.toml\": No such file"));
}

#[test]
fn example_is_valid() {
    let config = parse(include_str!("../../examples/telemetry.toml"));
    assert_eq!(config.pools.len(), 2);
    assert!(config.catalog.by_wire_name("inference.exception").is_some());
}

#[test]
fn own_log_has_a_format_and_a_filter() {
    let config = parse("[log]\nformat = \"json\"\nlevel = \"warn,h2=debug\"\n");
    assert_eq!(config.own_log.format, LogFormat::Json);
    assert_eq!(config.own_log.level, "warn,h2=debug".parse().unwrap());
    assert_eq!(parse("").own_log, OwnLogSection::default());
    refused(
        "[log]\nlevel = \"inof\"\n",
        "t.toml:2:9: log.level: \"inof\" is not allowed; use off, error, warn, info, debug or \
         trace, or a list such as \"info,telemetry_server::session=debug\"",
    );
    refused(
        "[log]\nformat = \"xml\"\n",
        "t.toml:2:10: log.format: \"xml\" is not allowed; it must be \"text\" or \"json\"",
    );
}

#[test]
fn workers_may_dial_in_unless_that_is_switched_off() {
    let config = parse("[manager]\nrun_dir = \"/run/t\"");
    let accept = config.accept.expect("it is on");
    assert_eq!(
        accept.socket.as_ref().expect("on").to_string(),
        "unix:/run/t/manager.sock"
    );
    assert_eq!(accept.grace, Duration::from_secs(30));
    let config = parse("[accept]\nenabled = false\n[[pool]]\nname = \"a\"\ncommand = [\"a\"]");
    assert!(config.accept.is_none() && config.pools[0].manager.is_none());
}

#[test]
fn ports_are_beside_the_socket_and_have_tls() {
    let config = parse(
        "[manager]\nrun_dir = \"/run/t\"\n[tls]\ncert = \"/c\"\nkey = \"/k\"\nclient_ca = \"/a\"\n\
         [accept]\nlisten = \"0.0.0.0:7443\"\ncertifies = \"pool\"\n[accept.tls]\nclient_ca = \"/b\"",
    );
    let accept = config.accept.expect("it is on");
    let doors = accept.doors().unwrap();
    let places: Vec<_> = doors.iter().map(|door| door.listen.to_string()).collect();
    assert_eq!(places, ["unix:/run/t/manager.sock", "0.0.0.0:7443"]);
    assert_eq!(doors[0].tls, None);
    let tls = doors[1].tls.as_ref().expect("a port");
    assert_eq!(tls.cert.as_deref(), Some(Path::new("/c")));
    assert_eq!(tls.client_ca.as_deref(), Some(Path::new("/b")));
    assert_eq!(doors[1].certifies, crate::accept::Certifies::Pool);
}

#[test]
fn a_door_that_cannot_be_opened_is_refused() {
    refused(
        "[accept]\nlisten = \"0.0.0.0:7443\"",
        "t.toml:2:10: accept.listen: 0.0.0.0:7443 is a port, at which workers dial in with TLS; set cert, key and \
         client_ca in [accept.tls] or [tls] (`telemetry tls init DIR` makes them for a try)",
    );
    refused(
        "[tls]\ncert = \"/c\"\nkey = \"/k\"\n[accept]\nlisten = [\"0.0.0.0:7443\"]",
        "t.toml:5:10: accept.listen: anybody could dial in at 0.0.0.0:7443; set client_ca in [accept.tls] or [tls], \
         so that workers need a certificate, or token_file in [accept], or both",
    );
    refused(
        "[tls]\ncert = \"/c\"",
        "t.toml:1:1: [tls] needs the key \"key\"",
    );
    refused(
        "[accept]\nlisten = [\"unix:/a.sock\", \"manager.example:7443\"]",
        "t.toml:2:27: accept.listen: manager.example:7443 is a name; to listen needs an IP and port such as \
         \"0.0.0.0:7443\"",
    );
    refused(
        "[manager]\nrun_dir = \"/run/t\"\n[watch]\ndirectory = \"/run/t\"",
        "t.toml:4:13: watch.directory: holds the socket at which workers dial in ([accept] listen), \
         which is no worker's; watch another directory",
    );
}

#[test]
fn lists_of_workers_are_read() {
    use crate::discover::ListSource;
    let config = parse(
        r#"
        [[discover]]
        kind = "file"
        path = "/etc/telemetry/targets.yml"
        pool = "web"
        [[discover]]
        kind = "dns"
        name = "workers.example"
        port = 50_051
        interval = "5s"
        [[discover]]
        kind = "dns"
        name = "localhost"
        port = 1
        "#,
    );
    let dns = |name: &str, port, seconds| ListSource::Dns {
        name: name.into(),
        port,
        interval: Duration::from_secs(seconds),
    };
    let sources: Vec<_> = config.discover.iter().map(|it| &it.source).collect();
    let path = "/etc/telemetry/targets.yml".into();
    assert_eq!(
        sources,
        [
            &ListSource::File { path },
            &dns("workers.example", 50_051, 5),
            &dns("localhost", 1, 30),
        ]
    );
    assert_eq!(config.discover[0].pool.as_deref(), Some("web"));
}

#[test]
fn mistakes_in_lists_of_workers_have_a_place() {
    let list = |rest: &str| format!("[[discover]]\n{rest}");
    refused(
        &list("kind = \"consul\"\n"),
        "t.toml:2:8: discover.kind: \"consul\" is not allowed; it must be \"file\" or \"dns\"",
    );
    refused(
        &list("kind = \"file\"\n"),
        "t.toml:1:1: [[discover]] needs the key \"path\"",
    );
    refused(
        &list("kind = \"dns\"\nname = \"localhost\"\n"),
        "t.toml:1:1: [[discover]] needs the key \"port\"",
    );
    refused(
        &list("kind = \"dns\"\nname = \"localhost:80\"\nport = 1\n"),
        "t.toml:3:8: discover.name: \"localhost:80\" is no name of a host, such as \
         \"workers.example\"; the port is a key of its own",
    );
    refused(
        &list("kind = \"dns\"\nname = \"localhost\"\nport = 0\n"),
        "t.toml:4:8: discover.port = 0 is not allowed; it must be a whole number from 1 to 65535",
    );
    refused(
        &list("kind = \"file\"\npath = \"/l.json\"\nport = 1\n"),
        "t.toml:4:1: unknown key \"port\" in [[discover]] (known: insecure, kind, path, pool, tls)",
    );
    let twice = list("kind = \"file\"\npath = \"/l.json\"\n").repeat(2);
    refused(
        &twice,
        "t.toml:4:1: /l.json is followed twice; name each list once",
    );
}
