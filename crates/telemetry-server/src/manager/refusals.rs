//! Connections that were not taken, by why. Counters only.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing, or not all, was said in time.
    Slow,
    /// Too many others waited to introduce themselves.
    Crowded,
    /// It spoke HTTP/2 as a client.
    Http2,
    /// It began with something else entirely.
    Unknown,
    /// Its introduction was too long.
    TooLong,
    /// Its introduction could not be read.
    Malformed,
    /// Its id, pool or incarnation cannot be used.
    Identity,
    /// Its process runs as a user who is not accepted.
    User,
    /// It was unregistered.
    Unregistered,
    /// There are as many workers, pools or connections as there may be.
    Full,
    /// The manager is about to end.
    Closing,
    /// It does not speak TLS, or its certificate cannot be trusted.
    Tls,
    /// It showed no token, or a wrong one.
    Token,
    /// Its certificate does not name it.
    Certificate,
}

impl Refusal {
    /// All of them.
    pub(crate) const ALL: [Self; 14] = [
        Self::Slow,
        Self::Crowded,
        Self::Http2,
        Self::Unknown,
        Self::TooLong,
        Self::Malformed,
        Self::Identity,
        Self::User,
        Self::Unregistered,
        Self::Full,
        Self::Closing,
        Self::Tls,
        Self::Token,
        Self::Certificate,
    ];

    /// The word of labels and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Crowded => "crowded",
            Self::Http2 => "http2",
            Self::Unknown => "unknown",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Identity => "identity",
            Self::User => "user",
            Self::Unregistered => "unregistered",
            Self::Full => "full",
            Self::Closing => "closing",
            Self::Tls => "tls",
            Self::Token => "token",
            Self::Certificate => "certificate",
        }
    }
}

/// How many there were of each.
#[derive(Debug, Default)]
pub(crate) struct Refusals([AtomicU64; Refusal::ALL.len()]);

impl Refusals {
    pub(crate) fn add(&self, why: Refusal) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Those that happened, with their numbers.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL
            .into_iter()
            .map(|why| (why, self.0[why as usize].load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let refusals = Refusals::default();
        for (place, why) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
            for _ in 0..=place {
                refusals.add(why);
            }
        }
        let counts: Vec<_> = refusals.counts().map(|(_, count)| count).collect();
        assert_eq!(counts, (1..=14).collect::<Vec<u64>>());
    }
}
