//! Who was not served, and why: every one counted, each kind logged now and then.
//!
//! What was asked for is not said: it may be a secret in the wrong place.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::DescriptorEncoder;

use crate::export::prometheus::{MetricSource, encode_counters};
use crate::rarely::Rarely;

/// Why a request is not answered, or a connection not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// It asks for somebody else.
    Host,
    /// A page of another origin asks.
    Origin,
    /// What it wants to do is not done at that path.
    Method,
    /// What it brings is not said to be JSON.
    Media,
    /// It shows no token.
    NoToken,
    /// It shows another one.
    WrongToken,
    /// There is no token that could open this.
    Closed,
    /// Its user may not use the unix socket.
    User,
    /// It did not read its answer.
    Slow,
    /// Others waited for its place.
    Crowded,
    /// It does not speak TLS where that is spoken, or not as it must.
    Tls,
}

const ALL: [Refusal; 11] = [
    Refusal::Host,
    Refusal::Origin,
    Refusal::Method,
    Refusal::Media,
    Refusal::NoToken,
    Refusal::WrongToken,
    Refusal::Closed,
    Refusal::User,
    Refusal::Slow,
    Refusal::Crowded,
    Refusal::Tls,
];

impl Refusal {
    /// As metrics and the log call it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Method => "method",
            Self::Media => "media",
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
            Self::Closed => "closed",
            Self::User => "user",
            Self::Slow => "slow",
            Self::Crowded => "crowded",
            Self::Tls => "tls",
        }
    }
}

/// The counts. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    counts: [AtomicU64; ALL.len()],
    said: Rarely,
}

impl Refusals {
    /// Counts one, and says so if none of its kind was said lately. `peer` is who it was.
    pub(super) fn note(&self, why: Refusal, peer: &dyn fmt::Display) {
        self.inner.counts[why as usize].fetch_add(1, Ordering::Relaxed);
        let why = why.as_str();
        if let Some(suppressed) = self.inner.said.is_due(why) {
            tracing::warn!(why, %peer, suppressed, "an HTTP client was refused");
        }
    }

    /// The same, with what was wrong in words.
    #[cfg(feature = "tls")]
    pub(super) fn note_because(
        &self,
        why: Refusal,
        peer: &dyn fmt::Display,
        error: &dyn fmt::Display,
    ) {
        self.inner.counts[why as usize].fetch_add(1, Ordering::Relaxed);
        let why = why.as_str();
        if let Some(suppressed) = self.inner.said.is_due(why) {
            tracing::warn!(why, %peer, %error, suppressed, "an HTTP client was refused");
        }
    }
}

impl MetricSource for Refusals {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = ALL.iter().zip(&self.inner.counts);
        let rows: Vec<_> = counts
            .map(|(why, count)| (vec![("why", why.as_str())], count.load(Ordering::Relaxed)))
            .collect();
        let help = "HTTP requests and connections that were not served.";
        encode_counters(encoder, "telemetry_http_refused", help, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_count_of_its_own() {
        for (place, why) in ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
        }
    }
}
