//! What a worker of a list is called.

use std::path::Path;

use telemetry_core::Address;

use crate::targets::Target;

/// A worker at an address, with this id or one that is made of pool and address.
pub(super) fn target(address: Address, id: Option<String>, pool: Option<&str>) -> Target {
    let worker = id.unwrap_or_else(|| match pool {
        Some(pool) => format!("{pool}-{}", place(&address)),
        None => place(&address),
    });
    Target::new(address, worker, pool.map(str::to_owned))
}

/// An address as a part of an id: host and port, or the name of a socket without its ending. Whatever has a meaning in
/// places where ids are written is a dash.
pub(super) fn place(address: &Address) -> String {
    let text = match address {
        Address::Tcp(address) => format!("{}-{}", address.ip(), address.port()),
        Address::Host { name, port } => format!("{name}-{port}"),
        other => {
            let stem = other.socket_path().and_then(Path::file_stem);
            stem.unwrap_or_default().to_string_lossy().into_owned()
        }
    };
    let is_plain = |character: char| character.is_alphanumeric() || "._-".contains(character);
    text.chars()
        .map(|character| if is_plain(character) { character } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_of_pool_host_and_port() {
        for (address, pool, id) in [
            ("127.0.0.1:7", Some("web"), "web-127.0.0.1-7"),
            ("127.0.0.1:7", None, "127.0.0.1-7"),
            ("[fe80::1]:7", Some("web"), "web-fe80--1-7"),
            ("web.example:7", Some("web"), "web-web.example-7"),
            ("unix:/run/a b.sock", Some("web"), "web-a-b"),
        ] {
            let address: Address = address.parse().expect("an address");
            let found = target(address.clone(), None, pool);
            assert_eq!(found.worker.as_str(), id);
            let named = target(address, Some("w-1".into()), pool);
            assert_eq!(named.worker.as_str(), "w-1");
            assert_eq!(named.pool.as_deref(), pool);
        }
    }
}
