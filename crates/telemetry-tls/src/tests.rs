//! Two ends on a pipe in memory: who is served, and what both are told otherwise.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::{
    Authority, CertificateName, ClientTls, Holder, ServerTls, TlsConfig, TlsVersion, explain,
};

const DAY: Duration = Duration::from_secs(86_400);

/// Files of one authority.
struct House {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("it works");
        let authority = Authority::new().expect("it works");
        fs::write(dir.path().join("ca.pem"), authority.certificate()).expect("it works");
        Self { dir, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a certificate and its key; `file` is what they are called.
    fn issue(&self, file: &str, holder: &Holder) {
        let issued = self.authority.issue(holder).expect("it works");
        fs::write(self.path(&format!("{file}.pem")), issued.cert).expect("it works");
        fs::write(self.path(&format!("{file}.key")), issued.key).expect("it works");
    }

    fn manager(&self) -> TlsConfig {
        self.issue("manager", &Holder::new("manager", &["manager.example"]));
        TlsConfig {
            cert: Some(self.path("manager.pem")),
            key: Some(self.path("manager.key")),
            client_ca: Some(self.path("ca.pem")),
            ..TlsConfig::default()
        }
    }

    fn worker(&self) -> TlsConfig {
        self.issue("worker", &Holder::new("web-1", &[]));
        TlsConfig {
            cert: Some(self.path("worker.pem")),
            key: Some(self.path("worker.key")),
            ca: Some(self.path("ca.pem")),
            ..TlsConfig::default()
        }
    }
}

/// What both ends say of a connection: the name of the one that connected, or why there is none.
async fn meet(manager: &ServerTls, worker: &ClientTls, host: &str) -> [Result<String, String>; 2] {
    let (ours, theirs) = duplex(16 << 10);
    manager.look();
    worker.look();
    let listens = async {
        let mut stream = manager.accept(ours).await?;
        let (_, session) = stream.get_ref();
        let name = match session.peer_certificates() {
            Some([certificate, ..]) => CertificateName::of(certificate)
                .map_err(io::Error::other)?
                .to_string(),
            _ => "nobody".to_owned(),
        };
        let mut word = [0; 5];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.shutdown().await?;
        Ok(name)
    };
    let connects = async {
        let mut stream = worker.connect(theirs, host).await?;
        stream.write_all(b"hello").await?;
        let mut word = String::new();
        stream.read_to_string(&mut word).await?;
        Ok(word)
    };
    let (listens, connects): (io::Result<String>, io::Result<String>) =
        tokio::join!(listens, connects);
    [
        listens.map_err(|error| explain(&error, None)),
        connects.map_err(|error| explain(&error, None)),
    ]
}

#[track_caller]
fn refused([listens, connects]: [Result<String, String>; 2], said: [&str; 2]) {
    for (result, said) in [listens, connects].into_iter().zip(said) {
        let error = result.expect_err(said);
        assert!(error.contains(said), "{error:?} does not say {said:?}");
    }
}

async fn meeting(manager: &TlsConfig, worker: &TlsConfig) -> [Result<String, String>; 2] {
    let manager = ServerTls::new(manager, &[]).expect("it works");
    let worker = ClientTls::new(worker, &[]).expect("it works");
    meet(&manager, &worker, "manager.example").await
}

#[tokio::test]
async fn the_right_ones_meet_and_the_name_is_known() {
    let house = House::new();
    let met = meeting(&house.manager(), &house.worker()).await;
    assert_eq!(met, [Ok("web-1".to_owned()), Ok("hello".to_owned())]);
    let mut holder = Holder::new("ignored", &[]);
    holder.uri = Some("spiffe://example/web/web-7".to_owned());
    let worker = house.worker();
    house.issue("worker", &holder);
    let met = meeting(&house.manager(), &worker).await;
    assert_eq!(met[0], Ok("spiffe://example/web/web-7".to_owned()));
}

#[tokio::test]
async fn a_name_that_could_be_anothers_is_none() {
    let house = House::new();
    let (manager, worker) = (house.manager(), house.worker());
    for (name, uri) in [
        ("example/web", None),
        ("web:1", None),
        ("web", Some("spiffe://example")),
        ("web", Some("spiffe://example/")),
    ] {
        let mut holder = Holder::new(name, &[]);
        holder.uri = uri.map(str::to_owned);
        house.issue("worker", &holder);
        let [listens, _] = meeting(&manager, &worker).await;
        let error = listens.expect_err(name);
        assert!(error.contains("is not allowed"), "{error}");
    }
}

#[tokio::test]
async fn a_worker_that_may_not_is_refused_in_words_on_both_ends() {
    let house = House::new();
    let manager = house.manager();
    let mut worker = house.worker();
    let issue = |from: SystemTime, until: SystemTime| {
        let mut holder = Holder::new("web-1", &[]);
        (holder.not_before, holder.not_after) = (from, until);
        house.issue("worker", &holder);
    };
    let now = SystemTime::now();
    issue(now - 3 * DAY, now - DAY);
    let until = httpdate::fmt_http_date(now - DAY);
    let said = format!("has expired: it was valid until {until}");
    refused(
        meeting(&manager, &worker).await,
        [&said, "refused our certificate: it has expired"],
    );
    issue(now + DAY, now + 2 * DAY);
    refused(
        meeting(&manager, &worker).await,
        ["is not valid yet: it will be from", "not valid yet"],
    );
    let stranger = Authority::new().expect("it works");
    let issued = stranger
        .issue(&Holder::new("web-1", &[]))
        .expect("it works");
    fs::write(house.path("worker.pem"), issued.cert).expect("it works");
    fs::write(house.path("worker.key"), issued.key).expect("it works");
    let ca = house.path("ca.pem");
    refused(
        meeting(&manager, &worker).await,
        [
            &format!("was not signed by an authority in {}", ca.display()),
            "refused our certificate",
        ],
    );
    let mut holder = Holder::new("web-1", &["elsewhere"]);
    holder.connects = false;
    house.issue("worker", &holder);
    refused(
        meeting(&manager, &worker).await,
        ["clientAuth", "refused our certificate"],
    );
    (worker.cert, worker.key) = (None, None);
    refused(
        meeting(&manager, &worker).await,
        ["showed no certificate", "set cert and key"],
    );
}

#[tokio::test]
async fn a_manager_that_may_not_is_refused_in_words_on_both_ends() {
    let house = House::new();
    let (manager, worker) = (house.manager(), house.worker());
    house.issue(
        "manager",
        &Holder::new("manager", &["other.example", "10.1.2.3"]),
    );
    refused(
        meeting(&manager, &worker).await,
        [
            "refused our certificate",
            "not for \"manager.example\" but for",
        ],
    );
    let mut named = worker.clone();
    named.server_name = Some("other.example".to_owned());
    assert_eq!(meeting(&manager, &named).await[1], Ok("hello".to_owned()));
    let mut holder = Holder::new("manager", &["manager.example"]);
    holder.not_after = SystemTime::now() - DAY / 2;
    holder.not_before = holder.not_after - DAY;
    house.issue("manager", &holder);
    refused(
        meeting(&manager, &worker).await,
        [
            "refused our certificate: it has expired",
            "has expired: it was valid until",
        ],
    );
    let own = Authority::new().expect("it works");
    fs::write(house.path("manager.pem"), own.certificate()).expect("it works");
    fs::write(house.path("manager.key"), own.key()).expect("it works");
    let [listens, connects] = meeting(&manager, &worker).await;
    listens.expect_err("it signed itself");
    connects.expect_err("it signed itself");
}

#[tokio::test]
async fn who_does_not_speak_tls_is_known_on_both_ends() {
    let house = House::new();
    let manager = ServerTls::new(&house.manager(), &[]).expect("it works");
    let (ours, mut theirs) = duplex(1024);
    theirs
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("it works");
    let error = manager.accept(ours).await.expect_err("no TLS").to_string();
    assert_eq!(error, "the peer does not speak TLS");
    let worker = ClientTls::new(&house.worker(), &[]).expect("it works");
    let (ours, mut theirs) = duplex(1024);
    theirs
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .expect("it works");
    let connected = worker.connect(ours, "manager.example").await;
    let error = connected.expect_err("no TLS").to_string();
    assert_eq!(error, "the peer does not speak TLS");
}

/// Waits until the files are looked at again.
async fn until_read(mut is_there: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_there().await {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "never read again"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn files_that_change_are_read_again_and_broken_ones_are_not_used() {
    let house = House::new();
    let manager = ServerTls::new(&house.manager(), &[]).expect("it works");
    let worker = ClientTls::new(&house.worker(), &[]).expect("it works");
    house.issue("worker", &Holder::new("web-2", &[]));
    until_read(async || {
        meet(&manager, &worker, "manager.example").await[0] == Ok("web-2".to_owned())
    })
    .await;

    fs::write(house.path("manager.key"), "half a file").expect("it works");
    until_read(async || {
        let met = meet(&manager, &worker, "manager.example").await;
        assert_eq!(met[0], Ok("web-2".to_owned()), "those before stay in use");
        manager.problem().is_some()
    })
    .await;
    let problem = manager.problem().expect("it works");
    assert!(
        problem.contains("manager.key") && problem.contains("no private key"),
        "{problem}"
    );

    // Revoked by removal: its authority is not known any more.
    let stranger = Authority::new().expect("it works");
    fs::write(house.path("ca.pem"), stranger.certificate()).expect("it works");
    house.issue("manager", &Holder::new("manager", &["manager.example"]));
    until_read(async || meet(&manager, &worker, "manager.example").await[0].is_err()).await;
    assert_eq!(manager.problem(), None);
}

#[test]
fn what_cannot_be_used_is_named_with_its_file() {
    let house = House::new();
    let good = house.manager();
    let refused = |change: fn(&mut TlsConfig, &Path), said: &str| {
        let mut config = good.clone();
        change(&mut config, house.dir.path());
        let error = ServerTls::new(&config, &[]).expect_err(said).to_string();
        assert!(error.contains(said), "{error:?} does not say {said:?}");
    };
    house.issue("other", &Holder::new("other", &[]));
    fs::write(house.path("empty.pem"), "").expect("it works");
    refused(|config, _| config.cert = None, "TLS needs `cert`");
    refused(|config, _| config.key = None, "TLS needs `key`");
    refused(
        |config, dir| config.cert = Some(dir.join("gone.pem")),
        "gone.pem: No such file",
    );
    refused(
        |config, dir| config.cert = Some(dir.join("empty.pem")),
        "empty.pem: holds no certificate",
    );
    refused(
        |config, dir| config.client_ca = Some(dir.join("empty.pem")),
        "client_ca",
    );
    refused(
        |config, dir| config.key = Some(dir.join("other.key")),
        "does not belong to",
    );
    refused(
        |config, dir| config.key = Some(dir.join("ca.pem")),
        "ca.pem: holds no private key",
    );
    let error = ClientTls::new(&TlsConfig::default(), &[]).expect_err("whom it trusts");
    assert!(error.to_string().contains("TLS needs `ca`"), "{error}");
    let mut config = house.worker();
    config.server_name = Some("no name".to_owned());
    let error = ClientTls::new(&config, &[]).expect_err("no name");
    assert!(error.to_string().contains("\"no name\""), "{error}");
}

#[cfg(feature = "tls12")]
#[tokio::test]
async fn an_older_version_is_spoken_on_request_only() {
    let house = House::new();
    let (mut manager, worker) = (house.manager(), house.worker());
    let mut old = rustls::ClientConfig::builder_with_provider(crate::material::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("it works")
        .with_root_certificates(
            crate::material::authorities("ca", &worker.ca.expect("it works")).expect("it works"),
        )
        .with_no_client_auth();
    old.enable_sni = true;
    let old = tokio_rustls::TlsConnector::from(std::sync::Arc::new(old));
    manager.client_ca = None;
    for (version, is_served) in [(TlsVersion::Tls13, false), (TlsVersion::Tls12, true)] {
        manager.min_version = version;
        let manager = ServerTls::new(&manager, &[]).expect("it works");
        let (ours, theirs) = duplex(16 << 10);
        let name = "manager.example".try_into().expect("it works");
        let (accepted, _) = tokio::join!(manager.accept(ours), old.connect(name, theirs));
        assert_eq!(accepted.is_ok(), is_served, "{:?}", accepted.err());
    }
}
