//! Whose socket listens at a port of this machine: a token is not for whoever took it while the manager was away.
//!
//! Asks the system's table of sockets, which Linux has in `/proc`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The tables, of both families.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// The state of a socket that listens.
const LISTENS: &str = "0A";

/// Users who listen at an address here; none says that there is no table to ask.
pub(crate) fn users_at(address: SocketAddr) -> Option<Vec<u32>> {
    let tables: Vec<String> = TABLES
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .collect();
    (!tables.is_empty()).then(|| {
        let lines = tables.iter().flat_map(|table| table.lines());
        lines.filter_map(|line| user(line, address)).collect()
    })
}

/// The user of a line, if it is of a socket that listens there.
fn user(line: &str, address: SocketAddr) -> Option<u32> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (ip, port) = columns.next()?.split_once(':')?;
    let state = columns.nth(1)?;
    let uid = columns.nth(3)?.parse().ok()?;
    let ip = ip_of(ip)?;
    let is_there = u16::from_str_radix(port, 16).ok()? == address.port()
        && (ip.is_unspecified() || ip == address.ip().to_canonical());
    (state == LISTENS && is_there).then_some(uid)
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
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_found_by_the_address_or_by_all_of_them() {
        let own = rustix::process::geteuid().as_raw();
        for place in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            // Where there is no IPv6 there is nothing to be found.
            let Ok(listener) = TcpListener::bind(place) else {
                continue;
            };
            let mut address = listener.local_addr().expect("it listens");
            if address.ip().is_unspecified() {
                address.set_ip([127, 0, 0, 1].into());
            }
            assert_eq!(users_at(address), Some(vec![own]), "{place}");
            drop(listener);
            assert_eq!(users_at(address), Some(Vec::new()), "{place}");
        }
    }

    #[test]
    fn a_connection_is_no_listener() {
        let address = "127.0.0.1:9464".parse().expect("an address");
        let line = |state: &str| {
            let ip = u32::from_ne_bytes([127, 0, 0, 1]);
            format!(
                "0: {ip:08X}:24F8 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 65534 0 1"
            )
        };
        assert_eq!(user(&line("0A"), address), Some(65_534));
        assert_eq!(user(&line("01"), address), None);
        assert_eq!(user("sl local_address rem_address st", address), None);
    }
}
