//! Which running manager a command means, and the ways to it: what was given, else what a configuration
//! says, else where a manager is by default.
//!
//! Reads configurations and tokens; connects nowhere.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use telemetry_server::Token;
use telemetry_server::config::{Config, HttpSection, read_found};
use telemetry_server::http::TokenFile;
use telemetry_server::telemetry_tls::TlsConfig;

use crate::failure::Failure;

/// The configuration that is looked for in the working directory.
pub(crate) const DEFAULT_CONFIG: &str = "telemetry.toml";
/// That of the service.
const SERVICE_CONFIG: &str = "/etc/telemetry/telemetry.toml";
/// Names the manager where neither --url nor --config does.
const URL_VARIABLE: &str = "TELEMETRY_URL";
/// What may be given as an address.
const ALLOWED: &str = "it must be like \"http://127.0.0.1:9464\", \"https://manager.example:9464\" or \
                       \"unix:/run/app/http.sock\"";

/// Which running manager is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct Running {
    /// Address of the manager: http://HOST:PORT, https://HOST:PORT, or unix:/PATH for its socket. By default
    /// $TELEMETRY_URL, else that of the configuration.
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
    /// The manager's configuration file, which says where it is. By default telemetry.toml here, else a
    /// manager of this user with a file of that name, else the service's.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// File with the operators' token, for http:// and https://. By default that of the configuration, if the
    /// address is its own.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// The authority that signed the manager's certificate, for https://; a PEM file. By default `ca` in the
    /// configuration.
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// Our certificate, for a manager that asks for one; a PEM file.
    #[arg(long, value_name = "FILE", requires = "key", global = true)]
    cert: Option<PathBuf>,
    /// The private key of our certificate.
    #[arg(long, value_name = "FILE", requires = "cert", global = true)]
    key: Option<PathBuf>,
}

/// One way to a manager.
#[derive(Debug)]
pub(crate) enum Way {
    /// Its unix socket, which asks for no token.
    Socket(PathBuf),
    /// Its port.
    Port {
        /// Host and port, as the `Host` header says it.
        authority: String,
        /// What opens it.
        token: Option<Token>,
        /// Whose file that is, of one that a configuration names: it is for the manager of that user.
        owner: Option<u32>,
        /// With what TLS is spoken there; none of a plain port.
        tls: Option<TlsConfig>,
    },
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
            Self::Port { authority, tls, .. } => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                write!(f, "{scheme}://{authority}")
            }
        }
    }
}

impl Running {
    /// The configuration that was named.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Whether any manager that is found here is meant.
    pub(crate) fn is_open(&self) -> bool {
        self.url.is_none() && self.config.is_none() && self.named().is_none()
    }

    /// The manager at an address, if it is one and no file.
    pub(crate) fn at(&self, url: &str) -> Option<Self> {
        let is_address = ["http://", "https://", "unix:"]
            .iter()
            .any(|it| url.starts_with(it));
        let mut running = self.clone();
        running.url = Some(url.to_owned());
        is_address.then_some(running)
    }

    /// The manager that the environment names, where nothing else does.
    fn named(&self) -> Option<Self> {
        let url = std::env::var(URL_VARIABLE)
            .ok()
            .filter(|url| !url.is_empty());
        let url = url.filter(|_| self.url.is_none() && self.config.is_none());
        url.map(|url| {
            let mut named = self.clone();
            named.url = Some(url);
            named
        })
    }

    /// The ways, best first; at least one.
    pub(crate) fn ways(&self) -> Result<Vec<Way>, Failure> {
        let given = self.token_file.clone().map(TokenFile::given);
        let given = given.map(|file| file.read().map_err(Failure::of));
        let given = given.transpose()?;
        if let Some(named) = self.named() {
            return named.ways();
        }
        let mut places = self.places()?;
        let mut ways = match self.url.as_deref() {
            Some(url) => vec![self.given_way(url, &mut places)?],
            None => places.into_iter().flat_map(ways_of).collect(),
        };
        if self.url.is_none() {
            // A socket says by itself whose it is.
            ways.sort_by_key(|way| matches!(way, Way::Port { .. }));
        }
        for way in &mut ways {
            if let Way::Port {
                token, owner, tls, ..
            } = way
            {
                if given.is_some() {
                    (*token, *owner) = (given.clone(), None);
                }
                if let Some(tls) = tls {
                    self.put_over(tls);
                }
            }
        }
        Ok(ways)
    }

    /// Puts what was given over what a configuration says.
    fn put_over(&self, tls: &mut TlsConfig) {
        let given = |file: &Option<PathBuf>| file.clone();
        tls.ca = given(&self.ca).or(tls.ca.take());
        tls.cert = given(&self.cert);
        tls.key = given(&self.key);
    }

    /// The way that was given. It gets a token only where a configuration says that it is the manager's.
    fn given_way(&self, url: &str, places: &mut Vec<HttpSection>) -> Result<Way, Failure> {
        let wrong = || Failure::Usage(format!("--url {url:?} is not allowed; {ALLOWED}"));
        let is_encrypted = url.starts_with("https:");
        let of_tls = [("--ca", &self.ca), ("--cert", &self.cert)];
        let of_tls = of_tls.into_iter().find(|(_, file)| file.is_some());
        if let (Some((name, _)), false) = (of_tls, is_encrypted) {
            return Err(Failure::Usage(format!(
                "{name} is for https://, and --url is {url:?}; leave one of them out"
            )));
        }
        if let Some(path) = url.strip_prefix("unix:") {
            let path = Path::new(path);
            return match path.is_absolute() {
                true => Ok(Way::Socket(path.to_owned())),
                false => Err(wrong()),
            };
        }
        let uri: http::Uri = url.parse().map_err(|_| wrong())?;
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let (scheme, default) = if is_encrypted {
            ("https", 443)
        } else {
            ("http", 80)
        };
        let is_bare = is_bare && uri.scheme_str() == Some(scheme);
        let authority = uri
            .authority()
            .filter(|authority| is_bare && !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(wrong)?;
        let port = authority.port_u16().unwrap_or(default);
        let authority = format!("{}:{port}", authority.host());
        // Of one that was named, though perhaps by another address of its own.
        let named = self.config.as_ref().and(places.first());
        let named = named.and_then(|http| http.tls.as_ref()).map(asking);
        // A token that is said to be encrypted is not to be read on the way.
        let is_there = |http: &HttpSection| {
            http.listen.is_some_and(|it| it.to_string() == authority)
                && http.tls.is_some() == is_encrypted
        };
        places.retain(is_there);
        let place = places.first();
        let known = place.and_then(|http| http.tls.as_ref()).map(asking);
        let (token, owner) = place.and_then(token_of).unzip();
        Ok(Way::Port {
            token,
            owner,
            tls: is_encrypted.then(|| known.or(named).unwrap_or_default()),
            authority,
        })
    }

    /// What configurations say of where a manager is.
    fn places(&self) -> Result<Vec<HttpSection>, Failure> {
        let here = Path::new(DEFAULT_CONFIG);
        let named = self.config.as_deref();
        let content = match named {
            Some(path) => Some((path, read_named(path)?)),
            // With an address it only tells whose that is.
            None if self.url.is_none() && here.exists() => Some((here, read_found(here)?)),
            None => None,
        };
        if let Some((path, content)) = content {
            let http = http_of(path, &content)?.ok_or_else(|| {
                Failure::Failed(format!(
                    "{path:?} has no [http], so its manager cannot be asked; add that section"
                ))
            })?;
            return Ok(vec![http]);
        }
        let default = Config::parse("[http]", DEFAULT_CONFIG)?.http;
        // Those that are not there, or that we may not read, say nothing.
        let here = read_found(here).ok().map(|content| (here, content));
        let service = Path::new(SERVICE_CONFIG);
        let service = read_named(service).ok().map(|content| (service, content));
        let [here, service] = [here, service]
            .map(|it| it.and_then(|(path, content)| http_of(path, &content).ok().flatten()));
        Ok(here.into_iter().chain(default).chain(service).collect())
    }
}

/// The text of a configuration that was named.
fn read_named(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::Usage(format!(
            "cannot read the configuration {path:?}: {error}; give an existing file with --config"
        ))
    })
}

/// `[http]` of a configuration, if it has one.
fn http_of(path: &Path, content: &str) -> Result<Option<HttpSection>, Failure> {
    Ok(Config::parse(content, &path.to_string_lossy())?.http)
}

/// The ways to one manager.
fn ways_of(http: HttpSection) -> Vec<Way> {
    let socket = http.socket.clone().map(Way::Socket);
    let port = http.listen.filter(|address| address.port() != 0);
    let port = port.map(|address| {
        let (token, owner) = token_of(&http).unzip();
        Way::Port {
            authority: address.to_string(),
            token,
            owner,
            tls: http.tls.as_ref().map(asking),
        }
    });
    socket.into_iter().chain(port).collect()
}

/// Its token and whose file that is, if we may read it. Without it the manager says what is missing.
fn token_of(http: &HttpSection) -> Option<(Token, u32)> {
    let file = http.token.as_ref()?;
    let owner = fs::metadata(file.path()).ok()?.uid();
    Some((file.read().ok()?, owner))
}

/// What a configuration says to those that ask. Its certificate is the manager's own, and `client_ca` is the
/// authority of those that ask, which need not be that of the manager.
fn asking(tls: &TlsConfig) -> TlsConfig {
    let mut asking = TlsConfig::default();
    asking.ca.clone_from(&tls.ca);
    asking.server_name.clone_from(&tls.server_name);
    asking.min_version = tls.min_version;
    asking
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// What `--url` leads to, beside a configuration of a manager at 127.0.0.1:9464.
    fn way_to(url: &str, more: &str) -> Way {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let config = dir.path().join("t.toml");
        let text = format!("[http]\nlisten = \"127.0.0.1:9464\"\ntoken_file = {token:?}\n{more}");
        fs::write(&config, text).unwrap();
        let running = Running {
            url: Some(url.to_owned()),
            config: Some(config),
            token_file: None,
            ca: None,
            cert: None,
            key: None,
        };
        let mut ways = running.ways().unwrap();
        assert_eq!(ways.len(), 1);
        ways.remove(0)
    }

    const TLS: &str =
        "[http.tls]\ncert = \"/t/c\"\nkey = \"/t/k\"\nca = \"/t/ca\"\nclient_ca = \"/t/cca\"";

    #[test]
    fn a_token_goes_to_its_own_address_and_by_tls_where_that_is_spoken() {
        for (url, more, is_shown) in [
            ("http://127.0.0.1:9464", "", true),
            ("https://127.0.0.1:9464", TLS, true),
            ("http://127.0.0.1:9464", TLS, false),
            ("https://127.0.0.1:9464", "", false),
            ("https://127.0.0.1:9465", TLS, false),
            ("https://manager.example:9464", TLS, false),
        ] {
            let way = way_to(url, more);
            let Way::Port { token, tls, .. } = &way else {
                panic!("{way}")
            };
            assert_eq!(token.is_some(), is_shown, "{url} {more}");
            assert_eq!(tls.is_some(), url.starts_with("https:"), "{url}");
            assert_eq!(way.to_string(), url);
        }
    }

    #[test]
    fn the_authority_of_a_configuration_is_trusted_and_nothing_else_of_it_shown() {
        for url in ["https://127.0.0.1:9464", "https://manager.example:9464"] {
            let Way::Port { tls: Some(tls), .. } = way_to(url, TLS) else {
                panic!("{url}")
            };
            assert_eq!(tls.ca.as_deref(), Some(Path::new("/t/ca")));
            assert_eq!((tls.cert, tls.key, tls.client_ca), (None, None, None));
        }
    }
}
