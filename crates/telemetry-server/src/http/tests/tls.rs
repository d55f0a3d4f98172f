//! Facts about HTTP over TLS: who gets in, and what the others are told.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use telemetry_tls::{Authority, ClientTls, Holder, Issued, TlsConfig, explain};

use super::*;
use crate::http::{HTTP_HEAD_TIMEOUT, TokenFile};

/// A port with TLS, and an authority that signed its certificate and may sign more.
struct World {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new().unwrap();
        let world = Self { dir, authority };
        world.write("ca.pem", world.authority.certificate());
        world.keep(
            "server",
            &world.authority,
            &Holder::new("m", &["localhost"]),
        );
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        // Whoever looks sees the old one or the new one.
        let draft = self.path("draft");
        fs::write(&draft, text).unwrap();
        fs::set_permissions(&draft, Permissions::from_mode(0o600)).unwrap();
        fs::rename(&draft, self.path(name)).unwrap();
    }

    fn keep(&self, name: &str, authority: &Authority, holder: &Holder) {
        let Issued { cert, key, .. } = authority.issue(holder).unwrap();
        self.write(&format!("{name}.pem"), &cert);
        self.write(&format!("{name}.key"), &key);
    }

    fn pair(&self, name: &str) -> TlsConfig {
        let mut config = TlsConfig::default();
        config.cert = Some(self.path(&format!("{name}.pem")));
        config.key = Some(self.path(&format!("{name}.key")));
        config
    }

    async fn rig(&self, change: impl FnOnce(&mut HttpConfig, &mut TlsConfig)) -> Rig {
        let mut config = HttpConfig {
            listen: Some(loopback()),
            token: Some(TokenFile::Own(self.path("token"))),
            ..HttpConfig::default()
        };
        let mut tls = self.pair("server");
        change(&mut config, &mut tls);
        config.tls = Some(tls);
        rig_with(config).await
    }

    /// What a client has that trusts the authority.
    fn client(&self) -> TlsConfig {
        let mut config = TlsConfig::default();
        config.ca = Some(self.path("ca.pem"));
        config
    }

    /// The same, with a certificate.
    fn certified(&self, authority: &Authority, holder: &Holder) -> TlsConfig {
        self.keep("client", authority, holder);
        let mut config = self.pair("client");
        config.ca = Some(self.path("ca.pem"));
        config
    }
}

/// Asks with TLS; the error is what the client is told.
async fn ask(rig: &Rig, client: &TlsConfig, head: &str) -> Result<String, String> {
    let tls = ClientTls::new(client, &["http/1.1"]).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(rig.address()).await.unwrap();
    let words = |error: std::io::Error| explain(&error, None);
    let mut stream = tls.connect(stream, "localhost").await.map_err(words)?;
    assert_eq!(stream.protocol(), Some(&b"http/1.1"[..]));
    let request = format!("{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let asked = stream.write_all(request.as_bytes()).await;
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("an end").map_err(words)?;
    asked.map_err(words)?;
    Ok(answer)
}

const HEALTH: &str = "GET /healthz HTTP/1.1";

/// Waits until so many were refused; the client may hear of it earlier.
async fn refusals_become(rig: &Rig, count: u64) {
    let counted = async {
        while rig.refused("tls") != count {
            tokio::task::yield_now().await;
        }
    };
    let counted = tokio::time::timeout(PATIENCE, counted).await;
    counted.unwrap_or_else(|_| panic!("{} of {count}", rig.refused("tls")));
}

#[tokio::test]
async fn over_tls_the_same_is_served_and_the_token_is_asked_for() {
    let world = World::new();
    let rig = world.rig(|_, _| {}).await;
    assert!(rig.server.is_encrypted());
    let health = ask(&rig, &world.client(), HEALTH).await.unwrap();
    assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
    assert_eq!(body(&health), "ok\n");
    let bare = ask(&rig, &world.client(), "GET /api/workers HTTP/1.1").await;
    assert!(bare.unwrap().starts_with("HTTP/1.1 401 "));
    let token = fs::read_to_string(world.path("token")).unwrap();
    let head = format!(
        "GET /api/workers HTTP/1.1\r\nAuthorization: Bearer {}",
        token.trim()
    );
    let shown = ask(&rig, &world.client(), &head).await.unwrap();
    assert!(shown.starts_with("HTTP/1.1 200 "), "{shown}");
    assert_eq!(rig.refused("tls"), 0);
}

#[tokio::test]
async fn a_port_with_tls_may_be_open_to_other_machines() {
    let world = World::new();
    let open = SocketAddr::from(([0, 0, 0, 0], 0));
    let rig = world.rig(|http, _| http.listen = Some(open)).await;
    assert!(rig.server.local_addr().unwrap().ip().is_unspecified());
}

#[tokio::test]
async fn without_its_files_nothing_listens() {
    let rig = rig().await;
    let prometheus =
        PrometheusExporter::new(Arc::clone(Catalog::builtin()), PrometheusConfig::default());
    let state = HttpState::new(rig.dispatcher.clone(), prometheus, ());
    let mut config = HttpConfig {
        listen: Some(loopback()),
        ..HttpConfig::default()
    };
    config.tls = Some(TlsConfig::default());
    let error = HttpServer::start(state, config).await.unwrap_err();
    assert!(matches!(error, HttpError::Tls(_)), "{error}");
    assert!(error.to_string().contains("`cert`"), "{error}");
}

#[tokio::test]
async fn with_client_ca_a_client_needs_a_certificate_of_that_authority() {
    let world = World::new();
    let ca = world.path("ca.pem");
    let rig = world.rig(|_, tls| tls.client_ca = Some(ca)).await;
    let right = world.certified(&world.authority, &Holder::new("operator", &[]));
    let health = ask(&rig, &right, HEALTH).await.unwrap();
    assert_eq!(body(&health), "ok\n");
    let bare = ask(&rig, &right, "GET /api/workers HTTP/1.1").await;
    let bare = bare.unwrap();
    assert!(
        bare.starts_with("HTTP/1.1 401 "),
        "beside the token: {bare}"
    );
    assert_eq!(rig.refused("tls"), 0);

    let none = ask(&rig, &world.client(), HEALTH).await;
    assert!(none.is_err(), "{none:?}");
    refusals_become(&rig, 1).await;
    let other = Authority::new().unwrap();
    let stranger = world.certified(&other, &Holder::new("operator", &[]));
    let stranger = ask(&rig, &stranger, HEALTH).await;
    assert!(stranger.is_err(), "{stranger:?}");
    refusals_become(&rig, 2).await;
    let mut old = Holder::new("operator", &[]);
    old.not_before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    old.not_after = old.not_before + Duration::from_secs(86_400);
    let expired = world.certified(&world.authority, &old);
    let expired = ask(&rig, &expired, HEALTH).await;
    assert!(expired.is_err(), "{expired:?}");
    refusals_become(&rig, 3).await;
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_port_says_so_and_is_counted() {
    let world = World::new();
    let rig = world.rig(|_, _| {}).await;
    let other = Authority::new().unwrap();
    world.write("other.pem", other.certificate());
    let mut client = world.client();
    client.ca = Some(world.path("other.pem"));
    let error = ask(&rig, &client, HEALTH).await.unwrap_err();
    assert!(error.contains("not signed by an authority"), "{error}");
    refusals_become(&rig, 1).await;
}

#[tokio::test]
async fn an_expired_certificate_of_the_port_is_named_with_its_date() {
    let world = World::new();
    let mut old = Holder::new("m", &["localhost"]);
    old.not_before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    old.not_after = old.not_before + Duration::from_secs(86_400);
    world.keep("server", &world.authority, &old);
    let rig = world.rig(|_, _| {}).await;
    let error = ask(&rig, &world.client(), HEALTH).await.unwrap_err();
    assert!(error.contains("valid until Mon, 10 Sep 2001"), "{error}");
    refusals_become(&rig, 1).await;
}

#[tokio::test]
async fn plain_http_at_a_port_with_tls_is_told_so() {
    let world = World::new();
    let rig = world.rig(|_, _| {}).await;
    let answer = rig.get("/healthz").await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(body(&answer).contains("speaks TLS"), "{answer}");
    refusals_become(&rig, 1).await;
    // A head that comes in bits, as a terminal sends it.
    let mut stream = TcpStream::connect(rig.address()).await.unwrap();
    stream.write_all(b"G").await.unwrap();
    let mut answer = String::new();
    let mut stream = BufReader::new(stream);
    stream.read_line(&mut answer).await.unwrap();
    assert_eq!(answer, "HTTP/1.1 400 Bad Request\r\n");
    drop(stream);
    refusals_become(&rig, 2).await;
    // Whoever looks whether somebody listens is no client of anything.
    drop(TcpStream::connect(rig.address()).await.unwrap());
    let health = ask(&rig, &world.client(), HEALTH).await.unwrap();
    assert_eq!(body(&health), "ok\n");
    assert_eq!(rig.refused("tls"), 2);
}

#[tokio::test]
async fn tls_at_a_plain_port_is_named_by_the_client() {
    let world = World::new();
    let rig = rig().await;
    let error = ask(&rig, &world.client(), HEALTH).await.unwrap_err();
    assert!(error.contains("does not speak TLS"), "{error}");
}

/// Serial numbers are random: two certificates of one holder differ.
fn shown(world: &World) -> String {
    fs::read_to_string(world.path("server.pem")).unwrap()
}

#[tokio::test]
async fn files_that_are_replaced_are_shown_to_the_next_and_cut_nobody_off() {
    let world = World::new();
    let rig = world.rig(|_, _| {}).await;
    let tls = ClientTls::new(&world.client(), &[]).unwrap();
    let stream = TcpStream::connect(rig.address()).await.unwrap();
    let mut kept = tls.connect(stream, "localhost").await.unwrap();
    let first = shown(&world);
    // Of another authority, so that one of both clients is refused.
    let other = Authority::new().unwrap();
    world.keep("server", &other, &Holder::new("m", &["localhost"]));
    world.write("other.pem", other.certificate());
    assert_ne!(shown(&world), first);
    let mut newer = world.client();
    newer.ca = Some(world.path("other.pem"));
    // Files are looked at once a second.
    let rotated = async {
        while ask(&rig, &newer, HEALTH).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let rotated = tokio::time::timeout(PATIENCE, rotated).await;
    rotated.expect("the new certificate");
    assert!(ask(&rig, &world.client(), HEALTH).await.is_err());
    // What cannot be used leaves in use what was.
    world.write("server.pem", "nonsense");
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).await.unwrap();
    assert_eq!(body(&answer), "ok\n", "the one that was open");
    // Longer than from one look to the next.
    let replaced = std::time::Instant::now();
    while replaced.elapsed() < Duration::from_millis(1_500) {
        assert!(ask(&rig, &newer, HEALTH).await.is_ok());
    }
}

#[tokio::test]
async fn who_never_finishes_the_handshake_loses_its_place() {
    let world = World::new();
    let rig = world.rig(|_, _| {}).await;
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(rig.address()).await.unwrap();
        if n % 2 == 0 {
            // The beginning of a handshake.
            stream.write_all(&[22, 3, 1]).await.unwrap();
        }
        silent.push(stream);
    }
    let health = ask(&rig, &world.client(), HEALTH).await.unwrap();
    assert_eq!(body(&health), "ok\n");
    assert!(rig.refused("crowded") > 0);
}

#[tokio::test]
async fn a_handshake_has_the_time_of_a_head() {
    let world = World::new();
    let rig = world.rig(|_, _| {}).await;
    let mut stream = TcpStream::connect(rig.address()).await.unwrap();
    let began = std::time::Instant::now();
    stream.write_all(&[22, 3, 1]).await.unwrap();
    let mut rest = Vec::new();
    let _cut = stream.read_to_end(&mut rest).await;
    let took = began.elapsed();
    assert!(
        took >= HTTP_HEAD_TIMEOUT - Duration::from_millis(100),
        "{took:?}"
    );
    assert!(took < HTTP_HEAD_TIMEOUT * 3, "{took:?}");
    refusals_become(&rig, 1).await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_handshake() {
    let world = World::new();
    let rig = world.rig(|_, _| {}).await;
    let mut stream = TcpStream::connect(rig.address()).await.unwrap();
    stream.write_all(&[22, 3, 1]).await.unwrap();
    // Served after it was accepted, so that one has its place too.
    ask(&rig, &world.client(), HEALTH).await.unwrap();
    let began = std::time::Instant::now();
    rig.server.shutdown(PATIENCE).await;
    assert!(began.elapsed() < HTTP_HEAD_TIMEOUT / 2);
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused_with_what_to_do() {
    let world = World::new();
    let key = world.path("server.key");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let prometheus =
        PrometheusExporter::new(Arc::clone(Catalog::builtin()), PrometheusConfig::default());
    let dispatcher = Dispatcher::new(
        Arc::clone(Catalog::builtin()),
        Source::of_node("here"),
        Arc::new(SystemClock::new()),
    );
    let config = HttpConfig {
        listen: Some(loopback()),
        tls: Some(world.pair("server")),
        ..HttpConfig::default()
    };
    let state = HttpState::new(dispatcher, prometheus, ());
    let refused = HttpServer::start(state, config).await.unwrap_err();
    let refused = refused.to_string();
    let wanted = format!("HTTP: the key {} has mode 0644", key.display());
    assert!(refused.starts_with(&wanted), "{refused}");
    assert!(refused.contains("chmod 600"), "{refused}");
}
