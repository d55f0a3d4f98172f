//! The names under which the server may be addressed besides loopback ones.
//!
//! A rule is checked when it is read: one that no `Host` header could ever meet is a mistake. Which
//! addresses are our own the system is asked each time, since they come and go.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

/// The word for the addresses of our own interfaces.
const OWN: &str = "self";

/// What [`HostRule`]s may be.
const ALLOWED: &str =
    "use a name, \"*.suffix\", an address, a range such as \"10.0.0.0/8\", or \"self\"";

/// One entry of `allowed_hosts`: a name, `*.suffix`, an address, a range of addresses such as
/// `10.0.0.0/8` or `fd00::/8`, or `self` for the addresses of our own interfaces. Without ports.
///
/// ```
/// use telemetry_server::http::HostRule;
///
/// let rule: HostRule = "10.0.0.0/8".parse()?;
/// assert_eq!(rule.to_string(), "10.0.0.0/8");
/// assert!("metrics.example:9464".parse::<HostRule>().is_err());
/// # Ok::<(), telemetry_server::http::HostRuleError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostRule(Rule);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Rule {
    /// Lower case, without a dot at its end.
    Name(String),
    /// The same, behind `*.`.
    Suffix(String),
    Address(IpAddr),
    /// Addresses whose first bits are those of this one.
    Range(IpAddr, u8),
    Own,
}

/// Why a text is no [`HostRule`]: it could never match.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{entry:?} {problem}; {ALLOWED}")]
#[non_exhaustive]
pub struct HostRuleError {
    /// The entry.
    pub entry: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl FromStr for HostRule {
    type Err = HostRuleError;

    fn from_str(text: &str) -> Result<Self, HostRuleError> {
        let wrong = |problem| HostRuleError {
            entry: text.to_owned(),
            problem,
        };
        if text.eq_ignore_ascii_case(OWN) {
            return Ok(Self(Rule::Own));
        }
        let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
            return match address.is_unspecified() {
                true => Err(wrong("is where a server listens and no address of anybody")),
                false => Ok(Self(Rule::Address(address.to_canonical()))),
            };
        }
        if text.contains("://") {
            return Err(wrong("has a scheme"));
        }
        if let Some((address, bits)) = text.split_once('/')
            && let Ok(address) = address.parse::<IpAddr>()
        {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse().ok().filter(|bits| *bits <= most);
            let bits = bits.ok_or_else(|| wrong("is a range with too many bits, or none"))?;
            return Ok(Self(Rule::Range(address, bits)));
        }
        if text.parse::<SocketAddr>().is_ok() {
            return Err(wrong("has a port, which does not count"));
        }
        let (name, rule): (_, fn(String) -> Rule) = match text.strip_prefix("*.") {
            Some(suffix) => (suffix, Rule::Suffix),
            None => (text, Rule::Name),
        };
        fault(name).map_or_else(|| Ok(Self(rule(plain(name)))), |what| Err(wrong(what)))
    }
}

/// Why no `Host` header names this.
fn fault(name: &str) -> Option<&'static str> {
    let labels = || name.strip_suffix('.').unwrap_or(name).split('.');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    Some(if name.is_empty() {
        "is empty"
    } else if name.contains(char::is_whitespace) {
        "has spaces"
    } else if name.contains('*') {
        "has a * that is not `*.` at its beginning"
    } else if name.contains('/') {
        "has a path"
    } else if name.contains('@') {
        "has a user"
    } else if name.contains(':') {
        "has a port, which does not count"
    } else if !name.is_ascii() {
        "has letters that a Host header writes as xn--…"
    } else if !name.bytes().all(is_plain) {
        "has characters that no name has"
    } else if labels().any(str::is_empty) {
        "has nothing between two dots"
    } else if labels().next_back().is_some_and(is_number) {
        "looks like an address and is none"
    } else {
        return None;
    })
}

/// A name as names are compared.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl From<IpAddr> for HostRule {
    /// One address.
    fn from(address: IpAddr) -> Self {
        Self(Rule::Address(address.to_canonical()))
    }
}

impl HostRule {
    /// Whether the host of a `Host` header, without its port, is meant.
    pub(super) fn allows(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let address = bare.unwrap_or(host).parse::<IpAddr>().ok();
        let address = address.map(|it| it.to_canonical());
        match (&self.0, address) {
            (Rule::Address(own), Some(address)) => *own == address,
            (Rule::Range(range, bits), Some(address)) => is_within(address, *range, *bits),
            (Rule::Own, Some(address)) => is_own(address),
            (Rule::Name(name), None) => plain(host) == *name,
            (Rule::Suffix(suffix), None) => plain(host)
                .strip_suffix(suffix)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            _ => false,
        }
    }

    /// Whether the addresses of our own interfaces are meant.
    pub(super) fn is_own(&self) -> bool {
        self.0 == Rule::Own
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Name(name) => f.write_str(name),
            Rule::Suffix(suffix) => write!(f, "*.{suffix}"),
            Rule::Address(address) => write!(f, "{address}"),
            Rule::Range(address, bits) => write!(f, "{address}/{bits}"),
            Rule::Own => f.write_str(OWN),
        }
    }
}

/// Whether the first bits of both are the same.
fn is_within(address: IpAddr, range: IpAddr, bits: u8) -> bool {
    let differing = match (address, range) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    differing >= u32::from(bits)
}

/// Whether an interface of this machine, or of our part of it, has the address: only then a socket can be
/// bound to it.
fn is_own(address: IpAddr) -> bool {
    let nobodys = match address {
        IpAddr::V4(address) => address.is_broadcast() || address == Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(address) => address == Ipv6Addr::UNSPECIFIED,
    };
    !nobodys && !address.is_multicast() && UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> HostRule {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    fn check(text: &str, allowed: &[&str], refused: &[&str]) {
        let rule = rule(text);
        for host in allowed {
            assert!(rule.allows(host), "{text} does not allow {host}");
        }
        for host in refused {
            assert!(!rule.allows(host), "{text} allows {host}");
        }
    }

    #[test]
    fn each_kind_of_rule_means_what_it_says() {
        let name = "Metrics.Internal";
        check(
            name,
            &["metrics.internal", "METRICS.internal."],
            &["a.metrics.internal", "10.0.0.1"],
        );
        let below = &["a.svc.local", "a.b.svc.local"];
        check(
            "*.svc.local",
            below,
            &["svc.local", ".svc.local", "asvc.local", "svc.local.evil"],
        );
        check(
            "10.1.2.3",
            &["10.1.2.3", "[::ffff:10.1.2.3]"],
            &["10.1.2.4", "10.1.2.3.evil"],
        );
        check(
            "[fd00::1]",
            &["[fd00::1]", "fd00::1", "[FD00:0::1]"],
            &["[fd00::2]"],
        );
        let inside = &["10.0.0.0", "10.255.255.255"];
        check(
            "10.0.0.0/8",
            inside,
            &["11.0.0.0", "9.255.255.255", "[fd00::1]", "ten"],
        );
        check(
            "192.168.7.9/30",
            &["192.168.7.8", "192.168.7.11"],
            &["192.168.7.12"],
        );
        check("fd00::/8", &["[fdff::1]"], &["[fe00::]", "10.0.0.1"]);
        check("0.0.0.0/0", &["1.2.3.4"], &["[::1]", "name"]);
        check("10.1.2.3/32", &["10.1.2.3"], &["10.1.2.2"]);
    }

    #[test]
    fn self_is_every_address_that_is_here_and_no_other() {
        // All of 127/8 is here; 240.0.0.0/4 and 2001:db8::/32 are nobody's.
        let nobodys = [
            "240.0.0.1",
            "[2001:db8::1]",
            "0.0.0.0",
            "[::]",
            "224.0.0.1",
            "255.255.255.255",
        ];
        check("self", &["127.0.0.1", "127.83.1.2"], &nobodys);
        check("SELF", &[], &["self", "localhost"]);
    }

    #[test]
    fn what_could_never_match_is_refused_with_what_is_allowed() {
        for (text, problem) in [
            ("", "is empty"),
            (" ", "has spaces"),
            ("a b", "has spaces"),
            ("name:9464", "has a port"),
            ("10.0.0.1:80", "has a port"),
            ("[::1]:80", "has a port"),
            ("http://name", "has a scheme"),
            ("name/path", "has a path"),
            ("me@name", "has a user"),
            ("*", "has a *"),
            ("*.", "is empty"),
            ("a.*.b", "has a *"),
            ("*name", "has a *"),
            ("a..b", "two dots"),
            (".name", "two dots"),
            ("10.0.0.300", "looks like an address"),
            ("10.0.0", "looks like an address"),
            ("10.0.0.0/33", "too many bits"),
            ("fd00::/129", "too many bits"),
            ("10.0.0.0/", "too many bits"),
            ("10.0.0.0/-1", "too many bits"),
            ("0.0.0.0", "where a server listens"),
            ("bücher.example", "xn--"),
            ("na(me", "characters"),
        ] {
            let error = text.parse::<HostRule>().expect_err(text).to_string();
            assert!(error.contains(problem), "{text:?}: {error}");
            assert!(error.contains("\"self\""), "{error}");
        }
    }

    #[test]
    fn a_rule_is_shown_as_it_can_be_read_again() {
        for text in [
            "a.example",
            "*.b",
            "10.0.0.1",
            "fd00::1",
            "10.0.0.0/8",
            "self",
        ] {
            assert_eq!(rule(text).to_string(), text);
        }
    }
}
