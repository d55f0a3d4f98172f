//! What a worker has of budgets.

use telemetry_proto as proto;

/// What a worker has of budgets. Without any it says that all stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Shares {
    /// Of the rules that it is about.
    pub revision: u64,
    /// Numbers of rules, with events a second.
    pub per_second: Vec<(u32, f64)>,
}

impl Shares {
    /// So many events a second for the rules with these numbers, in the set of this revision.
    pub fn new(revision: u64, per_second: impl IntoIterator<Item = (u32, f64)>) -> Self {
        Self {
            revision,
            per_second: per_second.into_iter().collect(),
        }
    }

    pub(super) fn from_proto(shares: &proto::TelemetryShares) -> Self {
        let shared = shares.shares.iter();
        Self::new(
            shares.revision,
            shared.map(|share| (share.number, share.per_second)),
        )
    }

    pub(super) fn to_proto(&self) -> proto::TelemetryShares {
        let shares = self.per_second.iter();
        proto::TelemetryShares {
            revision: self.revision,
            shares: shares
                .map(|(number, per_second)| proto::RuleShare {
                    number: *number,
                    per_second: *per_second,
                })
                .collect(),
        }
    }
}
