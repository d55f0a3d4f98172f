//! What `[[endpoint]]` means, and what is said when it is wrong.

use std::path::Path;

use super::{parse, refused};

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
         TLS is open to everybody on the way; use a unix socket or a loopback address, such as \
         that of a tunnel; or say insecure = true, so that events and token can be read and changed on the way",
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
