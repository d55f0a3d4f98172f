//! Who is at the other end of a connection to a port of this machine: a token is not for whoever took that port.
//!
//! Asks the system's tables of sockets, which Linux has in `/proc`. Knows no token.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::peer_user::is_hidden_user;

/// The tables, of both families. In each, those that listen stand before those that are connected.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// The state of a socket that listens.
const LISTENS: &str = "0A";
/// The number of a socket that nobody accepted yet; it has no user either.
const UNACCEPTED: &str = "0";

/// Why a secret is not for whoever is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stranger {
    /// There is nobody that the system could tell of, as beyond this machine.
    #[error("nobody listens there on this machine")]
    Unseen,
    /// Somebody else is there, who can only have taken the port.
    #[error("user {user} listens there, and the token is user {owner}'s")]
    User {
        /// Who is there.
        user: u32,
        /// Whose the secret is.
        owner: u32,
    },
}

/// Whether somebody else than our own user, root or `owner` is at the other end of a connection from `local` to `peer`;
/// `owner`: whose the secret is that is to be said there, if not ours. Where the system has no tables, nobody is found.
///
/// To be asked once the connection stands: whoever listens by then is who has it, or has given it to a process of
/// theirs. May take some milliseconds of the calling thread.
#[must_use]
pub fn stranger_behind(
    local: SocketAddr,
    peer: SocketAddr,
    owner: Option<u32>,
) -> Option<Stranger> {
    let own = rustix::process::geteuid().as_raw();
    let owner = owner.unwrap_or(own);
    let users = users_behind(local, peer)?;
    if users.is_empty() {
        return Some(Stranger::Unseen);
    }
    let stranger = users
        .into_iter()
        .find(|user| is_hidden_user(*user) || ![0, own, owner].contains(user));
    stranger.map(|user| Stranger::User { user, owner })
}

/// Users who listen at `peer`, and who have the other end of the connection; none says that there is no table to ask.
fn users_behind(local: SocketAddr, peer: SocketAddr) -> Option<Vec<u32>> {
    let tables: Vec<String> = TABLES
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .collect();
    (!tables.is_empty()).then(|| {
        let lines = tables.iter().flat_map(|table| table.lines());
        users(lines.filter_map(|line| entry(line, local, peer)))
    })
}

/// Those of the nearest listeners, beside whom others may listen at all addresses of another family, and those who are
/// connected.
fn users(entries: impl Iterator<Item = (Role, u32)>) -> Vec<u32> {
    let entries: Vec<_> = entries.collect();
    let listeners = entries.iter().map(|(role, _)| role);
    let nearest = listeners.filter(|role| **role < Role::Connected).max();
    let is_asked = |role: &Role| *role == Role::Connected || Some(role) == nearest;
    let asked = entries.iter().filter(|(role, _)| is_asked(role));
    asked.map(|(_, user)| *user).collect()
}

/// What a socket has to do with the connection, from the farthest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// It listens at all addresses, of the other family perhaps.
    ListensEverywhere,
    /// It listens at all addresses of the family.
    ListensInFamily,
    /// It listens at this one.
    ListensThere,
    /// It is the other end.
    Connected,
}

/// The user of a line and what the socket is, if it is of one that listens at `peer`, or of the other end of the connection.
/// While that is in the queue of whoever listens, it is theirs.
fn entry(line: &str, local: SocketAddr, peer: SocketAddr) -> Option<(Role, u32)> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (ip, port) = place_of(columns.next()?)?;
    let other = place_of(columns.next()?)?;
    let listens = columns.next()? == LISTENS;
    let uid = columns.nth(3)?.parse().ok()?;
    let is_accepted = columns.nth(1)? != UNACCEPTED;
    let there = canonical(peer).0;
    let role = if port != peer.port() {
        return None;
    } else if listens && ip == there {
        Role::ListensThere
    } else if listens && ip.is_unspecified() && ip.is_ipv4() == there.is_ipv4() {
        Role::ListensInFamily
    } else if listens && ip.is_unspecified() {
        Role::ListensEverywhere
    } else if !listens && is_accepted && ip == there && other == canonical(local) {
        Role::Connected
    } else {
        return None;
    };
    Some((role, uid))
}

fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// An address and a port as the table has them.
fn place_of(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    Some((ip_of(ip)?, u16::from_str_radix(port, 16).ok()?))
}

/// An address as the table has it: words of four bytes, each in the order of this machine.
fn ip_of(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks(8);
    let words: Option<Vec<[u8; 4]>> = words
        .map(|word| {
            let word = std::str::from_utf8(word).ok()?;
            u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
        })
        .collect();
    let bytes = words?.concat();
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(four).into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    Some(IpAddr::from(Ipv6Addr::from(sixteen)).to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    const FOREIGN: u32 = 65_533;

    /// Whether the socket is another user's by now, which root can do.
    fn give_away(socket: impl AsFd) -> bool {
        let foreign = rustix::fs::Uid::from_raw(FOREIGN);
        rustix::fs::fchown(socket, Some(foreign), None).is_ok()
    }

    fn connected(place: &str) -> Option<(TcpListener, TcpStream)> {
        let listener = TcpListener::bind(place).ok()?;
        let mut address = listener.local_addr().expect("it listens");
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        Some((listener, TcpStream::connect(address).expect("it listens")))
    }

    fn behind(stream: &TcpStream) -> Option<Stranger> {
        let local = stream.local_addr().expect("connected");
        stranger_behind(local, stream.peer_addr().expect("connected"), None)
    }

    #[test]
    fn who_listens_is_found_by_the_address_or_by_all_of_them() {
        for place in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            // Where there is no IPv6 there is nothing to be found.
            let Some((listener, stream)) = connected(place) else {
                continue;
            };
            assert_eq!(behind(&stream), None, "{place}");
            let accepted = listener.accept().expect("it is connected");
            assert_eq!(behind(&stream), None, "{place}");
            if give_away(&listener) {
                let user = FOREIGN;
                let found = behind(&stream);
                assert!(
                    matches!(found, Some(Stranger::User { user: it, .. }) if it == user),
                    "{place}: {found:?}"
                );
            }
            drop((listener, accepted));
            assert_eq!(behind(&stream), Some(Stranger::Unseen), "{place}");
        }
    }

    #[test]
    fn who_listens_at_all_addresses_beside_a_nearer_one_is_nobody_here() {
        use Role::{Connected, ListensEverywhere, ListensInFamily, ListensThere};
        let of = |entries: &[(Role, u32)]| users(entries.iter().copied());
        assert_eq!(of(&[(ListensThere, 1), (ListensEverywhere, 2)]), [1]);
        assert_eq!(of(&[(ListensInFamily, 1), (ListensEverywhere, 2)]), [1]);
        assert_eq!(of(&[(ListensEverywhere, 2)]), [2]);
        assert_eq!(of(&[(ListensThere, 1), (Connected, 3)]), [1, 3]);
        assert_eq!(of(&[(Connected, 3)]), [3]);
    }

    #[test]
    fn who_accepted_and_let_somebody_else_listen_is_found() {
        let (listener, stream) = connected("127.0.0.1:0").expect("a port");
        let (accepted, _) = listener.accept().expect("it is connected");
        if give_away(&accepted) {
            let found = behind(&stream);
            assert!(matches!(found, Some(Stranger::User { .. })), "{found:?}");
            let peer = stream.peer_addr().expect("connected");
            let local = stream.local_addr().expect("connected");
            assert_eq!(stranger_behind(local, peer, Some(FOREIGN)), None, "its own");
        }
    }

    #[test]
    fn another_connection_is_nobody_here() {
        let peer = "127.0.0.1:9464".parse().expect("an address");
        let local = "127.0.0.1:1024".parse().expect("an address");
        let line = |state: &str, port: &str, number: u32| {
            let ip = u32::from_ne_bytes([127, 0, 0, 1]);
            format!(
                "0: {ip:08X}:24F8 {ip:08X}:{port} {state} 00000000:00000000 00:00000000 00000000 65534 0 {number} 1"
            )
        };
        let user = |line: &str| entry(line, local, peer).map(|(_, user)| user);
        assert_eq!(user(&line("0A", "0000", 7)), Some(65_534));
        assert_eq!(user(&line("01", "0400", 7)), Some(65_534));
        assert_eq!(user(&line("01", "0400", 0)), None, "nobody's so far");
        assert_eq!(user(&line("01", "0401", 7)), None, "of somebody else");
        assert_eq!(user("sl local_address rem_address st"), None);
    }
}
