//! Workers of other machines: they dial in at a port over TLS, as whom their certificates say, or not at all.

pub(crate) mod house;

use std::fs;
use std::time::{Duration, SystemTime};

use telemetry_client::Config;
use telemetry_core::Address;
use telemetry_server::accept::Certifies;
use telemetry_tests::{eventually, within};
use telemetry_tls::{Authority, Holder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use house::{Cable, HOST, House, Worker, token};

const DAY: Duration = Duration::from_secs(86_400);
const EVENTS: u64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_from_a_worker_that_its_certificate_names() {
    let house = House::new();
    let door = house.open(|_| {});
    let Address::Tcp(port) = *door.address() else {
        panic!("it is a port");
    };
    // By its name, which has other addresses as well.
    let named = Address::Host {
        name: HOST.to_owned(),
        port: port.port(),
    };
    for (name, door) in [("web-1", door.address()), ("web-2", &named)] {
        let worker = Worker::start(&house.worker(name, door), EVENTS);
        let ledger = worker.shutdown();
        assert_eq!((ledger.sent, ledger.queued), (EVENTS, 0), "{ledger:?}");
    }
    house.manager.witness().until_count(2 * EVENTS).await;
    let totals = house.manager.totals();
    assert_eq!(totals.unaccounted_incarnations, 0);
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_one_worker_cannot_be_another() {
    let house = House::new();
    let door = house.open(|_| {});
    let own = Worker::start(&house.worker("web-1", door.address()), 1);
    let mut config = house.worker("web-2", door.address());
    // It says that it is the other one, life and all that it can know.
    config.worker_id = "web-1".to_owned();
    let liar = Worker::start(&config, 1);
    house.manager.witness().until_count(2).await;
    assert_eq!(house.ids(), ["web-1", "web-2:web-1"]);
    drop((own, liar));
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_may_name_a_pool() {
    let house = House::new();
    let door = house.open(|config| config.certifies = Certifies::Pool);
    let mut config = house.worker("shop", door.address());
    config.worker_id = "till-1".to_owned();
    config.pool_name = "another".to_owned();
    let worker = Worker::start(&config, 1);
    house.manager.witness().until_count(1).await;
    let streams = house.manager.list_streams();
    assert_eq!(streams[0].worker_id.as_str(), "till-1");
    assert_eq!(streams[0].pool_name.as_deref(), Some("shop"));
    drop(worker);
    door.stop().await;
}

/// A worker whose settings `change` spoils: what each end says, and that nothing was read.
async fn refused(change: impl FnOnce(&House, &mut Config), why: &str, said: &str) {
    let house = House::new();
    let door = house.open(|_| {});
    let mut config = house.worker("web-1", door.address());
    config.exit_timeout = Duration::from_millis(100);
    change(&house, &mut config);
    let worker = Worker::start(&config, 10);
    worker.says(said).await;
    house.refused(why).await;
    let ledger = worker.shutdown();
    assert_eq!((ledger.emitted, ledger.sent), (10, 0), "{said}: {ledger:?}");
    assert_eq!(house.manager.witness().count(), 0);
    assert!(house.ids().is_empty(), "{said}: {:?}", house.ids());
    door.stop().await;
}

fn valid(house: &House, name: &str, hosts: &[&str], from: SystemTime, until: SystemTime) {
    let mut holder = Holder::new(name, hosts);
    (holder.not_before, holder.not_after) = (from, until);
    house.issue(name, &holder);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_dial_in_is_told_why_and_sends_nothing() {
    let now = SystemTime::now();
    let expired = |house: &House, _: &mut Config| {
        valid(house, "web-1", &[], now - 2 * DAY, now - DAY);
    };
    refused(expired, "tls", "refused our certificate: it has expired").await;
    let early = |house: &House, _: &mut Config| {
        valid(house, "web-1", &[], now + DAY, now + 2 * DAY);
    };
    refused(early, "tls", "not valid yet").await;
    let stranger = |house: &House, _: &mut Config| {
        let issued = Authority::new().and_then(|it| it.issue(&Holder::new("web-1", &[])));
        let issued = issued.expect("a certificate");
        fs::write(house.path("web-1.pem"), issued.cert).expect("a file");
        fs::write(house.path("web-1.key"), issued.key).expect("a file");
    };
    refused(
        stranger,
        "tls",
        "not signed by an authority that the peer knows",
    )
    .await;
    let own = |house: &House, _: &mut Config| {
        let own = Authority::new().expect("a certificate");
        fs::write(house.path("web-1.pem"), own.certificate()).expect("a file");
        fs::write(house.path("web-1.key"), own.key()).expect("a file");
    };
    refused(own, "tls", "refused our certificate").await;
    let none = |_: &House, config: &mut Config| (config.tls.cert, config.tls.key) = (None, None);
    refused(none, "tls", "set cert and key").await;
    let nameless = |house: &House, _: &mut Config| house.issue("web-1", &Holder::new("", &[]));
    refused(
        nameless,
        "certificate",
        "neither a SPIFFE id nor a common name",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_cannot_be_trusted_gets_nothing() {
    let now = SystemTime::now();
    let expired = |house: &House, _: &mut Config| {
        valid(house, "manager", &["127.0.0.1"], now - 2 * DAY, now - DAY);
    };
    let wrong_name = |house: &House, _: &mut Config| {
        house.issue("manager", &Holder::new("manager", &["other.example"]));
    };
    let stranger = |house: &House, _: &mut Config| {
        let stranger = Authority::new().expect("an authority");
        fs::write(house.path("ca-2.pem"), stranger.certificate()).expect("a file");
    };
    type Spoil<'a> = &'a dyn Fn(&House, &mut Config);
    let cases: [(Spoil<'_>, &str); 3] = [
        (&expired, "has expired: it was valid until"),
        (&wrong_name, "is not for \"127.0.0.1\" but for"),
        (&stranger, "was not signed by an authority in"),
    ];
    for (spoil, said) in cases {
        let house = House::new();
        let mut config = house.worker("web-1", &Address::Tcp(([127, 0, 0, 1], 1).into()));
        spoil(&house, &mut config);
        let door = house.open(|_| {});
        config.managers = vec![door.address().clone()];
        if house.path("ca-2.pem").exists() {
            config.tls.ca = Some(house.path("ca-2.pem"));
        }
        config.exit_timeout = Duration::from_millis(100);
        let worker = Worker::start(&config, 10);
        worker.says(said).await;
        house.refused("tls").await;
        assert_eq!(worker.shutdown().sent, 0, "{said}");
        assert_eq!(house.manager.witness().count(), 0);
        door.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_tls_is_told_so_in_its_own_words() {
    let house = House::new();
    let door = house.open(|_| {});
    let Address::Tcp(port) = *door.address() else {
        panic!("it is a port");
    };
    for (words, answer) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "This port speaks TLS"),
        (
            b"TELEMETRY/1\0\0\0\x02{}",
            "this port speaks TLS, and the worker does not; set TELEMETRY_TLS_CA",
        ),
        (b"SSH-2.0-x\r\n", ""),
    ] {
        let mut stream = TcpStream::connect(port).await.expect("a port");
        stream.write_all(words).await.expect("room");
        let mut said = Vec::new();
        let read = within("the end", stream.read_to_end(&mut said)).await;
        let said = String::from_utf8_lossy(&said);
        // What was not read when it was closed may come back as a reset.
        assert!(said.contains(answer), "{said:?} {read:?}");
    }
    house.refused("tls").await;
    door.stop().await;

    // The reverse: a worker with TLS at a port that speaks something else.
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = Address::Tcp(plain.local_addr().expect("a port"));
    let answering = tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            // Whoever asks has gone by then.
            let _said = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let mut config = house.worker("web-1", &address);
    config.exit_timeout = Duration::from_millis(100);
    let worker = Worker::start(&config, 1);
    worker.says("the peer does not speak TLS").await;
    answering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_from_one_address_sends_nobody_of_another_away() {
    let house = House::new();
    let door = house.open(|_| {});
    let Address::Tcp(port) = *door.address() else {
        panic!("it is a port");
    };
    let socket = TcpSocket::new_v4().expect("a socket");
    let elsewhere = "127.0.0.2:0".parse().expect("an address");
    socket.bind(elsewhere).expect("all of 127/8 is ours");
    let mut first = socket.connect(port).await.expect("a door");
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(TcpStream::connect(port).await.expect("a door"));
    }
    house.refused("crowded").await;
    let said = b"GET / HTTP/1.1\r\n\r\n";
    first.write_all(said).await.expect("it was not sent away");
    let mut answer = String::new();
    let read = first.read_to_string(&mut answer);
    within("a last word", read).await.expect("a last word");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_beside_a_certificate_or_instead() {
    let house = House::new();
    let door = house.open(|config| {
        config.token = Some(token('a'));
        if let Some(tls) = &mut config.tls {
            tls.client_ca = None;
        }
    });
    for (shown, said) in [
        (None, "no token was shown; set TELEMETRY_TOKEN_FILE"),
        (Some('b'), "is not the manager's; see TELEMETRY_TOKEN_FILE"),
    ] {
        let mut config = house.worker("web-1", door.address());
        (config.tls.cert, config.tls.key) = (None, None);
        config.exit_timeout = Duration::from_millis(100);
        let worker = Worker::with(&config, shown.map(token), 10);
        worker.says(said).await;
        house.refused("token").await;
        assert_eq!(worker.shutdown().sent, 0);
    }
    assert_eq!(house.manager.witness().count(), 0);
    let mut config = house.worker("web-1", door.address());
    (config.tls.cert, config.tls.key) = (None, None);
    let worker = Worker::with(&config, Some(token('a')), 10);
    house.manager.witness().until_count(10).await;
    drop(worker);
    door.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_certificates_rotate_and_the_cable_is_cut() {
    let house = House::new();
    let door = house.open(|_| {});
    let cable = Cable::to(door.address()).await;
    let worker = Worker::start(&house.worker("web-1", &cable.address), 0);
    let mut emitted = 0;
    let mut cuts = 0;
    // A new authority beside the old one, then certificates of it, then without the old one.
    for round in 0..6 {
        worker.emit(500);
        emitted += 500;
        house.issue("web-1", &Holder::new("web-1", &[]));
        house.issue("manager", &Holder::new("manager", &[HOST, "127.0.0.1"]));
        if round == 3 {
            // Half a file, which nobody may use.
            fs::write(house.path("web-1.key"), "-----BEGIN").expect("a file");
        }
        house.manager.witness().until_count(emitted / 2).await;
        cuts += cable.cut();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert!(cuts >= 3, "{cuts} cuts: the cable was hardly used");
    let ledger = worker.shutdown();
    assert_eq!(
        (ledger.emitted, ledger.sent),
        (emitted, emitted),
        "{ledger:?}"
    );
    house.manager.witness().until_count(emitted).await;
    eventually("the account to balance", || {
        let stream = house.manager.totals();
        (stream.unaccounted_incarnations == 0).then_some(())
    })
    .await;
    assert_eq!(house.manager.witness().count(), emitted, "none twice");
    door.stop().await;
}
