//! What `[[endpoint]]` means, and what is said when it is wrong.

use std::path::Path;

use telemetry_tls::TlsConfig;

use super::{parse, refused};
use crate::WorkerTls;

#[test]
fn an_endpoint_at_a_port_may_have_a_token_and_one_at_a_socket_needs_none() {
    let endpoint = |address: &str| {
        format!(
            "[[endpoint]]\nworker_id = \"w\"\naddress = {address:?}\ntoken_file = \"/run/t/token\"\n"
        )
    };
    let config = parse(&endpoint("127.0.0.1:5"));
    let file = config.endpoints[0].token_file.as_deref();
    assert_eq!(file, Some(Path::new("/run/t/token")));
    let beyond = format!("{}insecure = true\n", endpoint("worker.example:5"));
    assert!(parse(&beyond).endpoints[0].insecure);
    refused(
        "[[endpoint]]\nworker_id = \"w\"\naddress = \"/run/w.sock\"\ninsecure = true\n",
        "t.toml:4:12: endpoint.insecure: a unix socket is nobody else's; remove it",
    );
    refused(
        &endpoint("/run/w.sock"),
        "t.toml:4:14: endpoint.token_file: nothing is shown at a unix socket, where the system tells who \
         connects; remove it",
    );
}

#[test]
fn endpoints_that_could_not_be_registered_are_refused_at_their_line() {
    let endpoint = |id: &str, address: &str, pool: &str| {
        format!("[[endpoint]]\nworker_id = {id:?}\naddress = {address:?}\npool = {pool:?}\n")
    };
    refused(
        &endpoint("", "/run/w.sock", "p"),
        "t.toml:2:13: endpoint.worker_id: \"\" is empty",
    );
    refused(
        &endpoint("w", "/run/w.sock", "a\nb"),
        "t.toml:4:8: endpoint.pool: \"a\\nb\" has control characters",
    );
    refused(
        &endpoint("w", "10.0.0.1:5", "p"),
        "t.toml:3:11: endpoint.address: 10.0.0.1:5 is not on this machine, and a stream without \
         TLS is open to everybody on the way; say tls = true, or use a unix socket or a loopback address, such as that of \
         a tunnel; or say insecure = true, and events and token can be read and changed on the way",
    );
    refused(
        "[watch]\ndirectory = \"/run/w\"\npool = \"\"\n",
        "t.toml:3:8: watch.pool: \"\" is empty",
    );
}

#[test]
fn a_worker_id_that_is_taken_is_refused() {
    let endpoint = "[[endpoint]]\nworker_id = \"w-1\"\naddress = \"/run/w.sock\"\n";
    refused(
        &format!("{endpoint}{endpoint}"),
        "t.toml:5:13: endpoint.worker_id: \"w-1\" is used twice; name each worker once",
    );
    refused(
        &format!("{endpoint}[[pool]]\nname = \"w\"\ncommand = [\"true\"]\nsize = 2\n"),
        "t.toml:2:13: endpoint.worker_id: \"w-1\" is a worker of pool \"w\" (w-1 to w-2); \
         use another id",
    );
    parse(&format!(
        "{endpoint}[[pool]]\nname = \"w-1\"\ncommand = [\"true\"]\n"
    ));
}

/// What TLS is to be as these files and this name say; that they are not there is said in the log.
fn tls(ca: &str, cert: Option<&str>, name: Option<&str>) -> WorkerTls {
    let mut config = TlsConfig::default();
    config.ca = Some(ca.into());
    config.cert = cert.map(|stem| format!("{stem}.pem").into());
    config.key = cert.map(|stem| format!("{stem}.key").into());
    config.server_name = name.map(str::to_owned);
    WorkerTls::new(config).unwrap()
}

#[test]
fn tls_of_those_that_are_dialled_is_as_the_table_of_all_says_unless_they_say_otherwise() {
    let config = parse(
        r#"
        [tls]
        ca = "/c/ca.pem"
        cert = "/c/m.pem"
        key = "/c/m.key"
        [[endpoint]]
        worker_id = "a"
        address = "worker.example:5"
        tls = true
        token_file = "/run/t/token"
        [[endpoint]]
        worker_id = "b"
        address = "192.0.2.1:5"
        [endpoint.tls]
        ca = "/d/ca.pem"
        server_name = "b.example"
        [[endpoint]]
        worker_id = "c"
        address = "127.0.0.1:5"
        [[discover]]
        kind = "dns"
        name = "workers.example"
        port = 5
        tls = true
        [[discover]]
        kind = "file"
        path = "/run/list.json"
        tls = { server_name = "all.example" }
        [[discover]]
        kind = "file"
        path = "/run/other.json"
        insecure = true
        "#,
    );
    let own = Some("/c/m");
    let found: Vec<_> = config.endpoints.iter().map(|it| it.tls.clone()).collect();
    let wanted = [
        Some(tls("/c/ca.pem", own, None)),
        Some(tls("/d/ca.pem", own, Some("b.example"))),
        None,
    ];
    assert_eq!(found, wanted);
    let found: Vec<_> = config.discover.iter().map(|it| it.tls.clone()).collect();
    let wanted = [
        Some(tls("/c/ca.pem", own, None)),
        Some(tls("/c/ca.pem", own, Some("all.example"))),
        None,
    ];
    assert_eq!(found, wanted);
    assert!(config.discover[2].insecure && !config.discover[0].insecure);
}

#[test]
fn tls_that_could_not_be_spoken_is_refused_at_its_place() {
    let endpoint = |address: &str, more: &str| {
        format!("[[endpoint]]\nworker_id = \"w\"\naddress = {address:?}\n{more}\n")
    };
    let port = |more| endpoint("127.0.0.1:5", more);
    refused(
        &port("tls = true"),
        "t.toml:4:7: endpoint.tls: needs the authorities of the workers' certificates; set ca here or in [tls] \
         (client_ca is for those that connect)",
    );
    refused(
        &port("tls = 1"),
        "t.toml:4:7: endpoint.tls = 1 is not allowed; it must be true, false or a table",
    );
    refused(
        &port("insecure = true\ntls = { ca = \"/c/ca.pem\" }"),
        "t.toml:4:12: endpoint.insecure: the worker is dialled with TLS; remove one of both",
    );
    refused(
        &port("tls = { ca = \"/c/ca.pem\", server_name = \"a b\" }"),
        "t.toml:4:7: endpoint.tls: server_name \"a b\" is neither the name of a host nor an IP",
    );
    refused(
        &endpoint("/run/w.sock", "tls = { ca = \"/c/ca.pem\" }"),
        "t.toml:4:7: endpoint.tls: nobody is on the way to a unix socket; remove it",
    );
    refused(
        "[[discover]]\nkind = \"file\"\npath = \"/l\"\ninsecure = true\ntls = { ca = \"/c\" }\n",
        "t.toml:4:12: discover.insecure: workers are dialled with TLS; remove one of both",
    );
}
