//! Workers that listen with TLS, and managers that dial them: by whose certificate, for which name, or not at all.
//!
//! What was emitted stands in a page that no ledger of ours writes, and what came is counted by a handler of its own.

mod street;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use telemetry_client::Config;
use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::ServeError;
use telemetry_core::emit::Recorder;
use telemetry_core::{Address, SystemClock};
use telemetry_server::discover::{Discovery, DiscoveryConfig, ListSource};
use telemetry_server::telemetry_tls::TlsConfig;
use telemetry_server::{WorkerContext, WorkerTls};
use telemetry_tests::eventually;
use telemetry_tls::{Authority, Holder};

use crate::tls::house::{Cable, HOST, token};
use street::{Listening, Street};

const DAY: Duration = Duration::from_secs(86_400);
const EVENTS: u64 = 1_000;
const WORKER: &str = "web-1";

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_over_tls_by_address() {
    let street = Street::new();
    let worker = Listening::start(&street.worker(), EVENTS);
    street.dial(&worker.address(), street.context());
    worker.check_all_came(&street).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_over_tls_by_name_and_from_all_addresses() {
    let street = Street::new();
    let mut config = street.worker();
    config.address = Some("0.0.0.0:0".parse().expect("an address"));
    let worker = Listening::start(&config, EVENTS);
    let Address::Tcp(place) = worker.address() else {
        panic!("it is a port");
    };
    // It has another address as well, at which nobody listens.
    let named = Address::Host {
        name: HOST.to_owned(),
        port: place.port(),
    };
    street.dial(&named, street.context());
    worker.check_all_came(&street).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_may_be_asked_for() {
    let street = Street::new();
    street
        .house
        .issue(WORKER, &Holder::new(WORKER, &["web.example"]));
    let worker = Listening::start(&street.worker(), EVENTS);
    let mut context = street.context();
    context.tls = context.tls.map(|tls| tls.named("web.example"));
    street.dial(&worker.address(), context);
    worker.check_all_came(&street).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_may_name_what_must_be_in_a_certificate() {
    let street = Street::new();
    street
        .house
        .issue(WORKER, &Holder::new(WORKER, &["web.example"]));
    let worker = Listening::start(&street.worker(), EVENTS);
    let list = |labels: &str| {
        let address = worker.address();
        format!(r#"[{{"targets": ["{address}"], "labels": {{"worker": "{WORKER}"{labels}}}}}]"#)
    };
    let path = street.house.path("list.json");
    fs::write(&path, list("")).expect("a file");
    let mut config = DiscoveryConfig::new(ListSource::File { path: path.clone() });
    config.tls = street.context().tls;
    let discovery = Discovery::start(&street.house.manager, config);
    street
        .manager_says(&WORKER.into(), "is not for \"127.0.0.1\" but for")
        .await;
    assert!(street.arrivals.all().is_empty());
    let named = list(r#", "__tls_server_name__": "web.example""#);
    fs::write(&path, named).expect("a file");
    worker.check_all_came(&street).await;
    discovery.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_beside_a_certificate_or_instead() {
    let street = Street::new();
    let mut config = street.worker();
    config.token = Some(token('a'));
    // Anybody may connect who has it.
    config.tls.ca = None;
    let worker = Listening::start(&config, EVENTS);
    let mut context = street.context();
    context.token = Some(token('b'));
    let id = street.dial(&worker.address(), context.clone());
    street.manager_says(&id, "status 16").await;
    assert!(street.arrivals.all().is_empty());
    context.token = Some(token('a'));
    street.dial(&worker.address(), context);
    worker.check_all_came(&street).await;
}

/// A meeting that `spoil` spoils: what each end says, and that nothing was read.
async fn refused(
    spoil: impl FnOnce(&Street, &mut Config, &mut WorkerContext),
    manager_says: &str,
    worker_says: &str,
) {
    let street = Street::new();
    let (mut config, mut context) = (street.worker(), street.context());
    config.exit_timeout = Duration::from_millis(100);
    spoil(&street, &mut config, &mut context);
    let worker = Listening::start(&config, 10);
    let id = street.dial(&worker.address(), context);
    street.manager_says(&id, manager_says).await;
    worker.says(worker_says).await;
    street.check_nothing_came(&worker.shutdown(), manager_says);
}

/// A certificate for a span of time.
fn valid(street: &Street, name: &str, from: SystemTime, until: SystemTime) {
    let mut holder = Holder::new(name, &["127.0.0.1"]);
    (holder.not_before, holder.not_after) = (from, until);
    street.house.issue(name, &holder);
}

/// A certificate of another authority, or of none.
fn strange(street: &Street, name: &str, is_own: bool) {
    let stranger = Authority::new().expect("an authority");
    let (cert, key) = if is_own {
        (stranger.certificate().to_owned(), stranger.key())
    } else {
        let issued = stranger.issue(&Holder::new(name, &["127.0.0.1"]));
        let issued = issued.expect("a certificate");
        (issued.cert, issued.key)
    };
    fs::write(street.house.path(&format!("{name}.pem")), cert).expect("a file");
    fs::write(street.house.path(&format!("{name}.key")), key).expect("a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_be_trusted_is_not_read() {
    let now = SystemTime::now();
    refused(
        |street, _, _| valid(street, WORKER, now - 2 * DAY, now - DAY),
        "has expired: it was valid until",
        "refused our certificate: it has expired",
    )
    .await;
    refused(
        |street, _, _| valid(street, WORKER, now + DAY, now + 2 * DAY),
        "not valid yet: it will be from",
        "not valid yet",
    )
    .await;
    refused(
        |street, _, _| strange(street, WORKER, false),
        "was not signed by an authority in",
        "not signed by an authority that the peer knows",
    )
    .await;
    refused(
        |street, _, _| strange(street, WORKER, true),
        "the peer's certificate",
        "refused our certificate",
    )
    .await;
    refused(
        |street, _, _| {
            let elsewhere = Holder::new(WORKER, &["other.example"]);
            street.house.issue(WORKER, &elsewhere);
        },
        "is not for \"127.0.0.1\" but for",
        "refused our certificate: it is not for the name",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_may_not_is_told_why_and_reads_nothing() {
    let now = SystemTime::now();
    let none = |street: &Street, _: &mut Config, context: &mut WorkerContext| {
        let mut files = street.files("manager");
        (files.cert, files.key) = (None, None);
        context.tls = Some(WorkerTls::new(files).expect("an authority"));
    };
    refused(none, "set cert and key", "the peer showed no certificate").await;
    refused(
        |street, _, _| valid(street, "manager", now - 2 * DAY, now - DAY),
        "refused our certificate: it has expired",
        "has expired: it was valid until",
    )
    .await;
    refused(
        |street, _, _| valid(street, "manager", now + DAY, now + 2 * DAY),
        "not valid yet",
        "not valid yet: it will be from",
    )
    .await;
    refused(
        |street, _, _| strange(street, "manager", false),
        "not signed by an authority that the peer knows",
        "was not signed by an authority in",
    )
    .await;
    refused(
        |street, _, _| strange(street, "manager", true),
        "refused our certificate",
        "the peer's certificate",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_tls_and_who_does_not_are_both_told_so() {
    let plain = |_: &Street, _: &mut Config, context: &mut WorkerContext| context.tls = None;
    refused(plain, "this port speaks TLS", "does not speak TLS").await;
    let without = |_: &Street, config: &mut Config, _: &mut WorkerContext| {
        config.tls = TlsConfig::default();
        config.insecure = true;
    };
    refused(
        without,
        "the peer does not speak TLS",
        "began TLS, which is not spoken at this port",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_would_serve_everybody_is_not_served() {
    let street = Street::new();
    let start = |change: &dyn Fn(&mut Config)| {
        let mut config = street.worker();
        change(&mut config);
        let clock = Arc::new(SystemClock::new());
        let recorder = Recorder::new(config.recorder(), clock).expect("the default policy");
        let address = config.address.as_ref();
        StreamBackend::serve(address, Arc::new(recorder), config.serve()).map(drop)
    };
    let open = start(&|config| config.tls.ca = None).expect_err("nobody is asked for anything");
    assert!(matches!(open, ServeError::Open { .. }), "{open}");
    assert!(open.to_string().contains("TELEMETRY_TLS_CA"), "{open}");
    let plain = start(&|config| {
        config.tls = TlsConfig::default();
        config.address = Some("0.0.0.0:0".parse().expect("an address"));
        config.insecure = true;
    });
    let plain = plain.expect_err("others could read along").to_string();
    assert!(plain.contains("there is no TLS"), "{plain}");
    let missing = start(&|config| config.tls.key = Some("/nonexistent.key".into()));
    let missing = missing.expect_err("there is no key").to_string();
    assert!(missing.contains("/nonexistent.key"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_certificates_rotate_and_the_cable_is_cut() {
    let street = Street::new();
    let mut worker = Listening::start(&street.worker(), 0);
    let cable = Cable::to(&worker.address()).await;
    street.dial(&cable.address, street.context());
    let pid = std::process::id();
    let (mut emitted, mut cuts) = (0, 0);
    for round in 0..6 {
        worker.emit(500);
        emitted += 500;
        let hosts = ["127.0.0.1"];
        for name in [WORKER, "manager"] {
            street.house.issue(name, &Holder::new(name, &hosts));
        }
        if round == 3 {
            // Half a file, which nobody may use.
            let half = street.house.path("manager.key");
            fs::write(half, "-----BEGIN").expect("a file");
        }
        eventually("half of the events", || {
            (street.arrivals.of(pid).distinct() >= emitted / 2).then_some(())
        })
        .await;
        cuts += cable.cut();
        // Files are looked at once a second.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert!(cuts >= 3, "{cuts} cuts: the cable was hardly used");
    worker.check_all_came(&street).await;
}
