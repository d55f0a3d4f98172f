//! `[accept]`: the doors for workers that dial in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use telemetry_core::Address;
use telemetry_tls::TlsConfig;

use super::error::ConfigError;
use super::section::Section;
use super::tls::tls;
use super::users;
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
    /// A unix socket for processes of [`users`](Self::users); absent if there are none.
    pub users_socket: Option<Address>,
    /// Users whose processes may dial in at [`users_socket`](Self::users_socket), besides the manager's own and root.
    pub users: Vec<u32>,
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
        let users = self
            .users_socket
            .iter()
            .cloned()
            .map(|socket| AcceptConfig {
                users: self.users.clone(),
                ..AcceptConfig::at(socket)
            });
        Ok(socket.chain(ports).chain(users).collect())
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
            users_socket: None,
            users: Vec::new(),
            ports: Vec::new(),
            tls: otherwise.clone(),
            certifies: Certifies::default(),
            token_file: None,
            grace: DEFAULT_AWAY_GRACE,
        }));
    };
    let is_on = section.flag("enabled")?.unwrap_or(true);
    let listen = section.parsed_list_or_one("listen", place)?;
    let users = users(&section)?;
    let users_socket = section.parsed("users_socket", users_place)?;
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
    match ports.first() {
        Some(port) => check(&section, port, &tls, token_file.is_some())?,
        None => check_without_ports(&section, own.as_ref(), certifies, token_file.as_deref())?,
    }
    if certifies.is_some() && tls.client_ca.is_none() {
        return Err(section.invalid(
            "certifies",
            "it says for what a worker's certificate stands, and none is asked for; set client_ca in [accept.tls] or \
             [tls], or leave it out",
        ));
    }
    let socket = sockets.pop().or(default);
    check_users(
        &section,
        &users,
        users_socket.as_ref(),
        socket.as_ref(),
        run_dir,
    )?;
    if socket.is_none() && ports.is_empty() {
        return Err(section.refuse(format!(
            "[accept] needs the key \"listen\", or a run_dir: {RUN_DIR_ALLOWED}"
        )));
    }
    Ok(Some(AcceptSection {
        socket,
        users_socket,
        users,
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

/// Refuses what is for ports, where there are none.
fn check_without_ports(
    section: &Section<'_>,
    own_tls: Option<&Section<'_>>,
    certifies: Option<Certifies>,
    token_file: Option<&Path>,
) -> Result<(), ConfigError> {
    const WHY: &str =
        "is for ports, and `listen` names none; add one such as \"0.0.0.0:7443\", or leave it out";
    if let Some(own_tls) = own_tls {
        return Err(own_tls.refuse(format!("[accept.tls] {WHY}")));
    }
    let keys = [
        ("certifies", certifies.is_some()),
        ("token_file", token_file.is_some()),
    ];
    match keys.into_iter().find(|(_, is_set)| *is_set) {
        Some((key, _)) => Err(section.invalid(key, format!("it {WHY}"))),
        None => Ok(()),
    }
}

/// Who may dial in besides our own user and root.
fn users(section: &Section<'_>) -> Result<Vec<u32>, ConfigError> {
    let known = users::Known::default();
    let users = section.parsed_list("accept_users", |text| known.number(text))?;
    Ok(users.unwrap_or_default())
}

/// Where they dial in.
fn users_place(text: &str) -> Result<Address, String> {
    match place(text) {
        Ok(socket @ Address::Unix(_)) => Ok(socket),
        _ => Err(format!(
            "{text:?} is no unix socket such as \"unix:/run/telemetry-users/manager.sock\"; a port goes into \
             `listen`, and asks for certificates and not for users"
        )),
    }
}

/// Whether other users have a socket of their own, away from what is ours.
fn check_users(
    section: &Section<'_>,
    users: &[u32],
    users_socket: Option<&Address>,
    socket: Option<&Address>,
    run_dir: Option<&Path>,
) -> Result<(), ConfigError> {
    let Some(place) = users_socket else {
        return match users {
            [] => Ok(()),
            _ => Err(section.invalid(
                "accept_users",
                "these users need a socket of their own; set users_socket, to one such as \
                 \"unix:/run/telemetry-users/manager.sock\"",
            )),
        };
    };
    let path = place.socket_path();
    let dir = path.and_then(Path::parent);
    let is_beside = |other: &Path| path.is_some_and(|path| path.starts_with(other));
    let problem = if users.is_empty() {
        "it is for other users, and none is named; set accept_users, to a list such as [\"www-data\"]"
    } else if run_dir.is_some_and(|run_dir| is_beside(&absolute(run_dir))) {
        "it is in the run_dir, which stays closed to other users; use a directory of its own"
    } else if dir.is_some() && dir == socket.and_then(Address::socket_path).and_then(Path::parent) {
        "it is in the directory of the socket `listen`, which stays closed to other users; use a directory of its own"
    } else {
        return Ok(());
    };
    Err(section.invalid("users_socket", problem))
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

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn read(rest: &str) -> Result<AcceptSection, String> {
        let text = format!("[manager]\nrun_dir = \"/run/t\"\n[accept]\n{rest}");
        let config = Config::parse(&text, "t.toml").map_err(|error| error.to_string())?;
        Ok(config.accept.expect("it is on"))
    }

    #[track_caller]
    fn refused(rest: &str, expected: &str) {
        assert_eq!(read(rest).expect_err(rest), expected);
    }

    #[test]
    fn other_users_have_a_door_of_their_own() {
        let accept = read(
            "accept_users = [\"33\", \"root\"]\nusers_socket = \"unix:/run/t-users/manager.sock\"",
        );
        let doors = accept.unwrap().doors().unwrap();
        let doors: Vec<_> = doors
            .iter()
            .map(|door| (door.listen.to_string(), door.users.as_slice()))
            .collect();
        let wanted: [(String, &[u32]); 2] = [
            ("unix:/run/t/manager.sock".to_owned(), &[]),
            ("unix:/run/t-users/manager.sock".to_owned(), &[33, 0]),
        ];
        assert_eq!(doors, wanted);
        for nobody in ["", "accept_users = []"] {
            assert_eq!(read(nobody).unwrap().doors().unwrap().len(), 1);
        }
    }

    #[test]
    fn what_would_be_ignored_is_refused_at_its_line() {
        let why = "is for ports, and `listen` names none; add one such as \"0.0.0.0:7443\", or leave it out";
        for (rest, place) in [
            ("certifies = \"pool\"", "t.toml:4:13: accept.certifies: it"),
            ("token_file = \"/t\"", "t.toml:4:14: accept.token_file: it"),
            (
                "[accept.tls]\nclient_ca = \"/ca\"",
                "t.toml:4:1: [accept.tls]",
            ),
        ] {
            refused(rest, &format!("{place} {why}"));
        }
        let port = "listen = \"0.0.0.0:7443\"\ntoken_file = \"/t\"\n";
        let tls = "[accept.tls]\ncert = \"/c\"\nkey = \"/k\"\n";
        read(&format!("{port}{tls}")).unwrap();
        refused(
            &format!("{port}certifies = \"worker\"\n{tls}"),
            "t.toml:6:13: accept.certifies: it says for what a worker's certificate stands, and none is asked for; set \
             client_ca in [accept.tls] or [tls], or leave it out",
        );
        read(&format!(
            "{port}certifies = \"worker\"\n{tls}client_ca = \"/ca\""
        ))
        .unwrap();
    }

    #[test]
    fn users_without_a_socket_and_a_socket_without_users_are_refused() {
        refused(
            "accept_users = [\"33\"]",
            "t.toml:4:16: accept.accept_users: these users need a socket of their own; set users_socket, to one such \
             as \"unix:/run/telemetry-users/manager.sock\"",
        );
        for users in ["", "\naccept_users = []"] {
            refused(
                &format!("users_socket = \"unix:/run/u/m.sock\"{users}"),
                "t.toml:4:16: accept.users_socket: it is for other users, and none is named; set accept_users, to a \
                 list such as [\"www-data\"]",
            );
        }
    }

    #[test]
    fn a_user_who_is_not_there_is_refused_at_its_line() {
        refused(
            "users_socket = \"unix:/run/u/m.sock\"\naccept_users = [\n  \"33\",\n  \"rot\",\n]",
            "t.toml:7:3: accept.accept_users: there is no user \"rot\" in /etc/passwd; did you mean \"root\"?; use a \
             name of those there or the number of a user",
        );
    }

    #[test]
    fn what_is_closed_stays_closed() {
        let place = |place: &str| format!("accept_users = [\"33\"]\nusers_socket = \"{place}\"");
        for inside in ["unix:/run/t/users.sock", "unix:/run/t/deep/er/users.sock"] {
            refused(
                &place(inside),
                "t.toml:5:16: accept.users_socket: it is in the run_dir, which stays closed to other users; use a \
                 directory of its own",
            );
        }
        refused(
            &format!(
                "listen = \"unix:/run/o/m.sock\"\n{}",
                place("unix:/run/o/u.sock")
            ),
            "t.toml:6:16: accept.users_socket: it is in the directory of the socket `listen`, which stays closed to \
             other users; use a directory of its own",
        );
        read(&place("unix:/run/t-users/m.sock")).expect("it is beside, not inside");
        for port in ["0.0.0.0:7443", "manager.example:1", "somewhere"] {
            let said = read(&place(port)).expect_err(port);
            assert!(said.contains("is no unix socket such as"), "{said}");
        }
    }
}
