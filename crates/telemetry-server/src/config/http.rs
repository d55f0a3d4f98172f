//! `[http]`: where the HTTP server listens, and who may read what.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use telemetry_core::Address;
use telemetry_tls::TlsConfig;

use super::DEFAULT_LISTEN;
use super::error::ConfigError;
use super::section::Section;
use super::tls::tls;
use crate::http::{HostRule, HttpConfig, HttpRoute, TokenFile};

/// Name of the unix socket, unless the file says otherwise.
const SOCKET: &str = "http.sock";
/// Name of the operators' token, unless the file says otherwise.
const TOKEN: &str = "token";
/// What switches one of the places off.
const OFF: &str = "off";

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpSection {
    /// Address of `/metrics`, `/healthz` and `/api`; absent if it is switched off.
    pub listen: Option<SocketAddr>,
    /// The unix socket of the same, which needs no token; `{run_dir}/http.sock` unless the file says
    /// otherwise, absent if it is switched off or there is no run_dir.
    pub socket: Option<PathBuf>,
    /// The operators' token; `{run_dir}/token` unless the file says otherwise.
    pub token: Option<TokenFile>,
    /// What needs no token at [`listen`](Self::listen).
    pub public: Vec<HttpRoute>,
    /// Further `Host`s under which it may be reached.
    pub allowed_hosts: Vec<HostRule>,
    /// Whether it may listen without TLS where other machines reach it: only behind something that encrypts.
    pub allow_remote: bool,
    /// TLS of [`listen`](Self::listen), over what `[tls]` says; absent: plain HTTP.
    pub tls: Option<TlsConfig>,
}

impl From<HttpSection> for HttpConfig {
    fn from(section: HttpSection) -> Self {
        Self {
            listen: section.listen,
            socket: section.socket,
            token: section.token,
            public: section.public,
            allowed_hosts: section.allowed_hosts,
            allow_remote: section.allow_remote,
            tls: section.tls,
            ..Self::default()
        }
    }
}

/// Reads the section of a manager with this directory, and this `[tls]`.
pub(super) fn http(
    section: &Section<'_>,
    run_dir: Option<&Path>,
    otherwise: &TlsConfig,
) -> Result<HttpSection, ConfigError> {
    let own = |name| run_dir.map(|run_dir| absolute(&run_dir.join(name)));
    let listen = section.parsed("listen", |text| match text {
        OFF => Ok(None),
        _ => text.parse::<SocketAddr>().map(Some).map_err(|_| {
            format!("{text:?} is no address and port, e.g. \"127.0.0.1:9464\", nor {OFF:?}")
        }),
    })?;
    let socket = section.parsed("socket", |text| match (text, text.parse::<Address>()) {
        (OFF, _) => Ok(None),
        (_, Ok(Address::Unix(path))) => Ok(Some(absolute(&path))),
        _ => Err(format!(
            "{text:?} is no unix socket such as \"unix:/run/app/http.sock\", nor {OFF:?}; a port goes \
             into `listen`"
        )),
    })?;
    let token_file = section
        .text("token_file")?
        .map(|path| absolute(Path::new(&path)));
    let public = section.parsed_list("public", str::parse::<HttpRoute>)?;
    let allowed_hosts = section.parsed_list("allowed_hosts", str::parse::<HostRule>)?;
    let allow_remote = section.flag("allow_remote")?.unwrap_or(false);
    let own_tls = section.section("tls")?;
    let encrypted = own_tls.as_ref().map(|it| tls(it, otherwise)).transpose()?;
    section.finish()?;
    let listen = listen.unwrap_or(Some(DEFAULT_LISTEN));
    let socket = socket.unwrap_or_else(|| own(SOCKET));
    if listen.is_none() && socket.is_none() {
        return Err(section.refuse(
            "[http] has nowhere to listen: `listen` is off, and `socket` is off or there is no run_dir; \
             switch one of them on, or leave the section out",
        ));
    }
    if let (Some(own_tls), Some(tls)) = (&own_tls, &encrypted) {
        check(own_tls, tls, listen.is_some())?;
    }
    let token = token_file.map(TokenFile::Given);
    Ok(HttpSection {
        listen,
        socket,
        token: token.or_else(|| own(TOKEN).map(TokenFile::Own)),
        public: public.unwrap_or_else(|| HttpConfig::default().public),
        allowed_hosts: allowed_hosts.unwrap_or_default(),
        allow_remote,
        tls: encrypted,
    })
}

/// Whether `[http.tls]` has what it needs, and something to encrypt.
fn check(own: &Section<'_>, tls: &TlsConfig, is_listening: bool) -> Result<(), ConfigError> {
    if !is_listening {
        return Err(own.refuse(
            "[http.tls] encrypts the port at `listen`, and that is off; switch it on, or leave [http.tls] out",
        ));
    }
    if tls.cert.is_none() {
        return Err(own.refuse(
            "[http.tls] needs the certificate of the port; set cert and key in [http.tls] or [tls] \
             (`telemetry tls init DIR` makes them for a try)",
        ));
    }
    Ok(())
}

/// Others who are told of it may have another working directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn read(http: &str) -> Result<HttpSection, String> {
        let text = format!("[manager]\nrun_dir = \"/run/t\"\n[http]\n{http}");
        let config = Config::parse(&text, "t.toml").map_err(|error| error.to_string())?;
        Ok(config.http.expect("a section"))
    }

    #[track_caller]
    fn refused(http: &str, expected: &str) {
        let error = read(http).expect_err(http);
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn it_is_closed_unless_it_says_otherwise() {
        let http = read("").unwrap();
        assert_eq!(http.listen, Some(DEFAULT_LISTEN));
        assert_eq!(http.socket.as_deref(), Some(Path::new("/run/t/http.sock")));
        assert_eq!(http.token, Some(TokenFile::Own("/run/t/token".into())));
        assert_eq!(http.public, [HttpRoute::Metrics, HttpRoute::Healthz]);
        assert!(!http.allow_remote && http.allowed_hosts.is_empty());
    }

    #[test]
    fn every_setting_is_read() {
        let http = read(
            "listen = \"10.0.0.1:1\"\nsocket = \"unix:/x/h.sock\"\ntoken_file = \"/etc/t\"\n\
             public = [\"api\"]\nallowed_hosts = [\"self\", \"*.b\"]\nallow_remote = true",
        );
        let http = http.unwrap();
        assert_eq!(http.listen.map(|it| it.port()), Some(1));
        assert_eq!(http.socket.as_deref(), Some(Path::new("/x/h.sock")));
        assert_eq!(http.token, Some(TokenFile::Given("/etc/t".into())));
        assert_eq!(http.public, [HttpRoute::Api]);
        assert_eq!(http.allowed_hosts.len(), 2);
        assert!(http.allow_remote);
        let config = HttpConfig::from(http.clone());
        assert_eq!((config.listen, config.socket), (http.listen, http.socket));
    }

    #[test]
    fn its_tls_is_on_where_it_is_said_and_takes_from_the_table_of_all_what_it_does_not_say() {
        let all = "[tls]\ncert = \"/t/c\"\nkey = \"/t/k\"\nca = \"/t/ca\"\n";
        assert_eq!(read(all).unwrap().tls, None, "not without being asked for");
        let own = format!("[http.tls]\nclient_ca = \"/h/ca\"\n{all}");
        let tls = read(&own).unwrap().tls.expect("it is on");
        let path = |file: &Option<PathBuf>| file.clone().expect("a file");
        assert_eq!(path(&tls.cert), Path::new("/t/c"));
        assert_eq!(path(&tls.key), Path::new("/t/k"));
        assert_eq!(path(&tls.ca), Path::new("/t/ca"));
        assert_eq!(path(&tls.client_ca), Path::new("/h/ca"));
        let config = HttpConfig::from(read(&own).unwrap());
        assert_eq!(config.tls, Some(tls));
    }

    #[test]
    fn its_tls_need_not_ask_for_certificates_because_others_do() {
        let all = "[tls]\ncert = \"/t/c\"\nkey = \"/t/k\"\nclient_ca = \"/t/cca\"\n";
        let client_ca = |own: &str| {
            let http = read(&format!("[http.tls]\n{own}{all}")).unwrap();
            http.tls.expect("it is on").client_ca
        };
        assert_eq!(client_ca(""), Some("/t/cca".into()));
        assert_eq!(client_ca("client_ca = \"off\"\n"), None);
        refused("[http.tls]\nclient_ca = \"\"", "is empty");
    }

    #[test]
    fn tls_without_a_certificate_or_without_a_port_is_refused() {
        refused(
            "[http.tls]\nclient_ca = \"/h/ca\"",
            "t.toml:4:1: [http.tls] needs the certificate of the port; set cert and key in [http.tls] or [tls]",
        );
        refused(
            "[http.tls]\ncert = \"/h/c\"",
            "[http.tls] needs the key \"key\"",
        );
        refused(
            "listen = \"off\"\n[http.tls]\ncert = \"/h/c\"\nkey = \"/h/k\"",
            "t.toml:5:1: [http.tls] encrypts the port at `listen`, and that is off",
        );
    }

    #[test]
    fn each_place_can_be_switched_off_and_not_both() {
        assert_eq!(read("listen = \"off\"").unwrap().listen, None);
        assert_eq!(read("socket = \"off\"").unwrap().socket, None);
        refused(
            "listen = \"off\"\nsocket = \"off\"",
            "t.toml:3:1: [http] has nowhere to listen",
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_at_its_place() {
        refused(
            "public = [\"metrics\",\n  \"heathz\"]",
            "t.toml:5:3: http.public: \"heathz\" is not allowed; use \"metrics\", \"healthz\" or \"api\"",
        );
        refused(
            "allowed_hosts = [\n  \"ok.example\",\n  \"metrics:9464\",\n]",
            "t.toml:6:3: http.allowed_hosts: \"metrics:9464\" has a port, which does not count; use a name",
        );
        refused("allowed_hosts = [\"http://x\"]", "has a scheme");
        refused("allowed_hosts = [\"\"]", "is empty");
        refused("allowed_hosts = [1]", "it must be a list of texts");
        refused("socket = \"127.0.0.1:1\"", "a port goes into `listen`");
        refused("listen = \"localhost\"", "no address and port");
    }
}
