//! `[accept]`: the doors for workers that dial in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use telemetry_core::Address;
use telemetry_tls::TlsConfig;

use super::error::ConfigError;
use super::section::Section;
use super::tls::tls;
use crate::accept::{AcceptConfig, Certifies};
use crate::manager::DEFAULT_AWAY_GRACE;
use crate::run_dir::RUN_DIR_ALLOWED;
use crate::token::{self, TokenFileError};

/// Name of the socket at which workers dial in, unless the file says otherwise.
const ACCEPT_SOCKET: &str = "manager.sock";

/// `[accept]`
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptSection {
    /// A unix socket, `{run_dir}/manager.sock` unless the file says otherwise; absent only where there is no
    /// run_dir and ports are listed.
    pub socket: Option<Address>,
    /// Ports, at which TLS is spoken.
    pub ports: Vec<Address>,
    /// TLS of the ports.
    pub tls: TlsConfig,
    /// For what a worker's certificate stands.
    pub certifies: Certifies,
    /// The file with what workers must show at a port.
    pub token_file: Option<PathBuf>,
    /// How long a worker that lost its connection keeps its place while its process may be there.
    pub grace: Duration,
}

impl AcceptSection {
    /// How each door is set up. Reads the file of the token.
    ///
    /// # Errors
    /// [`TokenFileError`].
    pub fn doors(&self) -> Result<Vec<AcceptConfig>, TokenFileError> {
        let token = self.token_file.as_deref().map(token::read).transpose()?;
        let socket = self.socket.iter().cloned().map(AcceptConfig::at);
        let ports = self.ports.iter().cloned().map(|port| AcceptConfig {
            tls: Some(self.tls.clone()),
            certifies: self.certifies,
            token: token.clone(),
            ..AcceptConfig::at(port)
        });
        Ok(socket.chain(ports).collect())
    }
}

/// Reads the section, which is on unless it is switched off.
pub(super) fn accept(
    section: Option<Section<'_>>,
    run_dir: Option<&Path>,
    otherwise: &TlsConfig,
) -> Result<Option<AcceptSection>, ConfigError> {
    // Workers may have another working directory.
    let default = run_dir.map(|run_dir| Address::Unix(absolute(run_dir).join(ACCEPT_SOCKET)));
    let Some(section) = section else {
        return Ok(default.map(|socket| AcceptSection {
            socket: Some(socket),
            ports: Vec::new(),
            tls: otherwise.clone(),
            certifies: Certifies::default(),
            token_file: None,
            grace: DEFAULT_AWAY_GRACE,
        }));
    };
    let is_on = section.flag("enabled")?.unwrap_or(true);
    let listen = section.parsed_list_or_one("listen", place)?;
    let own = section.section("tls")?;
    let tls = match &own {
        Some(own) => tls(own, otherwise)?,
        None => otherwise.clone(),
    };
    let certifies = section.parsed("certifies", str::parse)?;
    let token_file = section
        .text("token_file")?
        .map(|path| absolute(Path::new(&path)));
    let grace = section.duration("grace")?.unwrap_or(DEFAULT_AWAY_GRACE);
    section.finish()?;
    if !is_on {
        return Ok(None);
    }
    let (mut sockets, ports): (Vec<_>, Vec<_>) = listen
        .unwrap_or_default()
        .into_iter()
        .partition(|place| place.socket_path().is_some());
    if sockets.len() > 1 {
        return Err(section.invalid("listen", "names two unix sockets; one is allowed"));
    }
    if let Some(port) = ports.first() {
        check(&section, port, &tls, token_file.is_some())?;
    }
    let socket = sockets.pop().or(default);
    if socket.is_none() && ports.is_empty() {
        return Err(section.refuse(format!(
            "[accept] needs the key \"listen\", or a run_dir: {RUN_DIR_ALLOWED}"
        )));
    }
    Ok(Some(AcceptSection {
        socket,
        ports,
        tls,
        certifies: certifies.unwrap_or_default(),
        token_file,
        grace,
    }))
}

/// Whether a port has what it needs.
fn check(
    section: &Section<'_>,
    port: &Address,
    tls: &TlsConfig,
    has_token: bool,
) -> Result<(), ConfigError> {
    let problem = if tls.cert.is_none() {
        format!(
            "{port} is a port, at which workers dial in with TLS; set cert, key and client_ca in \
             [accept.tls] or [tls] (`telemetry tls init DIR` makes them for a try)"
        )
    } else if tls.client_ca.is_none() && !has_token {
        format!(
            "anybody could dial in at {port}; set client_ca in [accept.tls] or [tls], so that workers need a \
             certificate, or token_file in [accept], or both"
        )
    } else {
        return Ok(());
    };
    Err(section.invalid("listen", problem))
}

/// Where to listen.
fn place(text: &str) -> Result<Address, String> {
    match text.parse::<Address>() {
        Ok(Address::Unix(path)) => Ok(Address::Unix(absolute(&path))),
        Ok(port @ Address::Tcp(_)) => Ok(port),
        Ok(named) => Err(format!(
            "{named} is a name; to listen needs an IP and port such as \"0.0.0.0:7443\""
        )),
        Err(problem) => Err(problem.to_string()),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
