//! Under which id a worker that dials in is served, and who has claimed it.
//!
//! A worker says what it was called; several may say the same: children that inherited the id, doubles,
//! a successor. What tells them apart is the process behind the connection and the incarnation. Plain
//! rules; the table they are applied to is the registry's.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use telemetry_core::{Mistake, is_planted};

use crate::accounts::Process;
use crate::identity::WorkerId;

/// Most workers that were unregistered while they lived of which it is remembered.
const MAX_BANNED: usize = 4_096;
/// How much of an address of IPv6 its holder may choose.
const HOST_BITS: u32 = 64;
/// Digits of an incarnation that are enough to tell children apart.
const SHORT_INCARNATION: usize = 8;

/// What tells two peers apart: the incarnation, and the process where the system tells it, so that nobody
/// takes the place of another process by its word.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    pub(super) incarnation: String,
    pub(super) pid: Option<u32>,
    /// Who a certificate says it is, where one was shown: nobody takes the place of its holder either.
    pub(super) certificate: Option<String>,
    /// From which address it comes, where nothing else tells who comes from elsewhere.
    pub(super) address: Option<IpAddr>,
}

/// Who has claimed an id.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) claim: Claim,
    /// Its process, where the system tells.
    pub(super) process: Option<Process>,
}

/// What a newcomer may do with an id that somebody has claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Take it over: whoever had it is gone.
    Vacant,
    /// Perhaps take it over in a moment: whoever had it still has a connection, and it is not known
    /// whether anybody is at its other end.
    Uncertain,
    /// Leave it alone.
    Taken,
}

impl Holder {
    /// Whether a newcomer from another address is the same worker, of which nothing else is known: nobody else knows its
    /// incarnation, of 128 random bits.
    fn is_itself(&self, newcomer: &Claim) -> bool {
        let is_bare = |claim: &Claim| claim.certificate.is_none() && claim.pid.is_none();
        is_bare(&self.claim) && is_bare(newcomer) && self.claim.incarnation == newcomer.incarnation
    }

    /// How the id stands towards a newcomer with this claim. `connected`: the holder's stream is open.
    pub(super) fn towards(&self, newcomer: &Claim, connected: bool) -> Standing {
        let same_process = self.claim.pid == newcomer.pid;
        let origin = |claim: &Claim| (claim.certificate.clone(), claim.address);
        let is_moved = origin(&self.claim) != origin(newcomer) && self.process.is_none();
        if is_moved && !self.is_itself(newcomer) {
            // It may come back, and be taken for nobody else.
            return Standing::Taken;
        }
        match self.process {
            Some(process) if process.is_over() => Standing::Vacant,
            Some(_) if is_planted(Mistake::GivesTakenIds) => Standing::Vacant,
            Some(_) if !same_process => Standing::Taken,
            // It has replaced its program, or the system does not tell who it is.
            Some(_) | None if connected => Standing::Uncertain,
            Some(_) | None => Standing::Vacant,
        }
    }
}

/// Where a connection comes from: an address, or the network of one of IPv6, of which one holder has 2^64.
pub(crate) fn origin(address: SocketAddr) -> IpAddr {
    match address.ip().to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> HOST_BITS << HOST_BITS;
            Ipv6Addr::from_bits(network).into()
        }
        address => address,
    }
}

/// The id of a child that calls itself by the id of its parent.
pub(super) fn child(parent: &WorkerId, claim: &Claim) -> WorkerId {
    match claim.pid {
        Some(pid) => format!("{parent}.{pid}").into(),
        None => {
            let end = claim.incarnation.len().min(SHORT_INCARNATION);
            format!("{parent}.{}", &claim.incarnation[..end]).into()
        }
    }
}

/// The id of the `number`th of those that call themselves `id`.
pub(super) fn numbered(id: &WorkerId, number: usize) -> WorkerId {
    match number {
        0 | 1 => id.clone(),
        number => format!("{id}~{number}").into(),
    }
}

/// Who holds which id.
#[derive(Debug, Default)]
pub(super) struct Claims {
    ids: HashMap<Claim, WorkerId>,
    /// How many ids each process holds, each certificate, or each address without one.
    held: HashMap<Source, usize>,
}

/// From where ids are claimed, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    /// A process of this machine.
    Process(u32),
    /// The holder of a certificate, wherever it is.
    Certificate(String),
    /// All who come from an address without one.
    Address(IpAddr),
    /// All who come from a namespace that cannot be seen.
    Unknown,
}

impl Source {
    fn of(claim: &Claim) -> Self {
        match (claim.pid, &claim.certificate, claim.address) {
            (Some(pid), ..) => Self::Process(pid),
            (None, Some(name), _) => Self::Certificate(name.clone()),
            (None, None, Some(address)) => Self::Address(address),
            (None, None, None) => Self::Unknown,
        }
    }
}

impl Claims {
    pub(super) fn get(&self, claim: &Claim) -> Option<&WorkerId> {
        self.ids.get(claim)
    }

    pub(super) fn insert(&mut self, claim: Claim, id: WorkerId) {
        let source = Source::of(&claim);
        if self.ids.insert(claim, id).is_none() {
            *self.held.entry(source).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, claim: &Claim) {
        let source = Source::of(claim);
        if self.ids.remove(claim).is_some()
            && let Some(held) = self.held.get_mut(&source)
        {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&source);
            }
        }
    }

    /// How many ids are held by whoever claims one; 0 of those that cannot be told apart, of whom there may be many.
    pub(super) fn held_by(&self, claim: &Claim) -> usize {
        match Source::of(claim) {
            Source::Unknown => 0,
            source => self.held.get(&source).copied().unwrap_or(0),
        }
    }
}

/// Workers that were unregistered while they lived; the oldest are forgotten beyond a bound.
#[derive(Debug, Default)]
pub(super) struct Banned {
    claims: HashMap<WorkerId, Claim>,
    order: VecDeque<WorkerId>,
}

impl Banned {
    pub(super) fn add(&mut self, id: WorkerId, claim: Claim) {
        self.lift(&id);
        self.order.push_back(id.clone());
        self.claims.insert(id, claim);
        if self.order.len() > MAX_BANNED
            && let Some(oldest) = self.order.pop_front()
        {
            self.claims.remove(&oldest);
        }
    }

    /// It may come back. Whether it was not allowed to.
    pub(super) fn lift(&mut self, id: &WorkerId) -> bool {
        self.order.retain(|other| other != id);
        self.claims.remove(id).is_some()
    }

    pub(super) fn has(&self, id: &WorkerId) -> bool {
        self.claims.contains_key(id)
    }

    /// The id under which this one was unregistered.
    pub(super) fn find(&self, claim: &Claim) -> Option<&WorkerId> {
        // Few are, and only who has no place asks.
        let mut all = self.claims.iter();
        all.find(|(_, other)| *other == claim).map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(incarnation: &str, pid: Option<u32>) -> Claim {
        Claim {
            incarnation: incarnation.to_owned(),
            pid,
            certificate: None,
            address: None,
        }
    }

    #[test]
    fn an_origin_is_what_one_holder_has() {
        for (address, expected) in [
            ("192.0.2.7:1", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
            ("[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::"),
            ("[2001:db8:1:2:ffff::]:9", "2001:db8:1:2::"),
            ("[2001:db8:1:3::]:9", "2001:db8:1:3::"),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(origin(address).to_string(), expected);
        }
    }

    #[test]
    fn one_that_comes_from_another_address_is_itself_by_its_incarnation_alone() {
        let from = |incarnation: &str, address: &str, certificate: Option<&str>| Claim {
            address: Some(address.parse().expect("an address")),
            certificate: certificate.map(str::to_owned),
            ..claim(incarnation, None)
        };
        let holder = |certificate| Holder {
            claim: from("a1", "192.0.2.7", certificate),
            process: None,
        };
        let moved = from("a1", "192.0.2.8", None);
        assert_eq!(holder(None).towards(&moved, false), Standing::Vacant);
        assert_eq!(holder(None).towards(&moved, true), Standing::Uncertain);
        let other = from("b2", "192.0.2.8", None);
        assert_eq!(holder(None).towards(&other, false), Standing::Taken);
        // A certificate says more than an incarnation.
        assert_eq!(holder(Some("x")).towards(&moved, false), Standing::Taken);
    }

    fn ours() -> (u32, Option<Process>) {
        let pid = std::process::id();
        (pid, Process::of(pid))
    }

    #[test]
    fn an_id_is_taken_while_its_process_runs_and_another_one_asks() {
        let (pid, process) = ours();
        let holder = Holder {
            claim: claim("a", Some(pid)),
            process,
        };
        let other = claim("b", Some(pid + 1));
        for connected in [true, false] {
            assert_eq!(holder.towards(&other, connected), Standing::Taken);
        }
        let same = claim("b", Some(pid));
        assert_eq!(holder.towards(&same, true), Standing::Uncertain);
        assert_eq!(holder.towards(&same, false), Standing::Vacant);
    }

    #[test]
    fn where_no_process_is_known_the_connection_decides() {
        let holder = Holder {
            claim: claim("a", None),
            process: None,
        };
        let other = claim("b", None);
        assert_eq!(holder.towards(&other, true), Standing::Uncertain);
        assert_eq!(holder.towards(&other, false), Standing::Vacant);
    }

    #[test]
    fn children_are_named_by_their_process_or_their_incarnation() {
        let parent = WorkerId::from("web-1");
        assert_eq!(
            child(&parent, &claim("0123456789", Some(7))).as_str(),
            "web-1.7"
        );
        assert_eq!(
            child(&parent, &claim("0123456789", None)).as_str(),
            "web-1.01234567"
        );
        assert_eq!(numbered(&parent, 1), parent);
        assert_eq!(numbered(&parent, 2).as_str(), "web-1~2");
    }

    #[test]
    fn the_oldest_ban_is_forgotten() {
        let mut banned = Banned::default();
        let id = |n: usize| WorkerId::from(format!("w{n}"));
        for n in 0..=MAX_BANNED {
            banned.add(id(n), claim(&n.to_string(), None));
        }
        assert!(!banned.has(&id(0)) && banned.has(&id(1)));
        assert_eq!(banned.find(&claim("1", None)), Some(&id(1)));
        assert!(banned.lift(&id(1)) && !banned.lift(&id(1)));
    }
}
