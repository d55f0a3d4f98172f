//! What one worker gets: its rules as they travel, and the hash that says what they mean.
//!
//! A worker skips a rule that it does not understand and says so; a set that it cannot read, or that is
//! larger than allowed, it refuses whole.

use std::hash::Hasher;
use std::time::Duration;

use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use telemetry_proto as proto;
use telemetry_proto::telemetry_rule::Action;
use thiserror::Error;

use super::check::RuleProblem;
use super::{MAX_RANK, MAX_RULES, MAX_RULES_BYTES, MAX_WORKER_GLOBS};

/// The highest field of a rule that is known here.
const LAST_FIELD: u32 = 15;
/// Most rules and globs that stand for the controls of old, whose ranks no person can write.
const MAX_RESERVED: (usize, usize) = (68, 66 * 64 + 2);

/// All rules for one worker.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct WorkerRules {
    /// Grows with every change at the manager.
    pub revision: u64,
    /// What they mean, as the manager says: see [`WorkerRules::new`].
    pub fingerprint: u64,
    /// The rules; their order means nothing.
    pub rules: Vec<WireRule>,
    /// Of a set that was received: the rules that are left out, and why.
    pub problems: Vec<RuleProblem>,
}

/// One rule as a worker gets it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WireRule {
    /// Under which it is counted.
    pub number: u32,
    /// Its name.
    pub id: String,
    /// Globs of the events that it is about.
    pub matches: Vec<String>,
    /// Globs of those that it is not about after all.
    pub except: Vec<String>,
    /// Of the rules about an event only those of the highest rank count.
    pub rank: i32,
    /// What becomes of the events.
    pub action: WireAction,
    /// How long it is in force, from when it arrives.
    pub expires_in: Option<Duration>,
    /// Metadata keys by whose values its events are counted.
    pub count_labels: Vec<String>,
    /// Whether its globs cover wire names only, as those of the controls of old do.
    pub wire_names: bool,
}

/// What becomes of the events that a rule is about, in one worker.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum WireAction {
    /// They are kept.
    Keep,
    /// They are dropped.
    Drop,
    /// They are kept with this probability.
    Rate(f64),
    /// So many a second are kept.
    PerSecond {
        /// Events a second.
        limit: f64,
        /// How many may come at once; by default what comes in a second.
        burst: Option<f64>,
    },
    /// So many a second are kept by several workers together.
    Budget {
        /// Events a second of all of them.
        per_second: f64,
        /// How many they are.
        workers: u32,
        /// Events a second of this worker, if it is no equal part.
        share: Option<f64>,
    },
    /// The worker emits nothing at all.
    Off,
}

/// Why a set of rules was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RulesError {
    /// A rule cannot be read.
    #[error("a rule could not be read: {0}")]
    Undecodable(String),
    /// There is more than allowed.
    #[error("the rules have {count} {what}; at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
}

impl WorkerRules {
    /// These rules under a revision, with a fingerprint that is the same for the same ones in any order. When
    /// they end, and under which numbers they are counted, is no part of it.
    #[must_use]
    pub fn new(revision: u64, rules: Vec<WireRule>) -> Self {
        let prints = rules.iter().map(WireRule::fingerprint);
        Self {
            revision,
            // Zero is no rules at all.
            fingerprint: prints.fold(rules.len() as u64, u64::wrapping_add),
            rules,
            problems: Vec::new(),
        }
    }

    /// Checks that there is no more than allowed for one worker.
    ///
    /// # Errors
    ///
    /// [`RulesError::TooMany`] for the first limit that is broken.
    pub fn check_limits(&self) -> Result<(), RulesError> {
        let reserved = self.rules.iter().filter(|rule| !rule.is_of_a_person());
        let reserved: Vec<_> = reserved.collect();
        let persons = self.rules.len() - reserved.len();
        within("rules", persons, MAX_RULES)?;
        within("rules of reserved ranks", reserved.len(), MAX_RESERVED.0)?;
        let globs = reserved.iter().map(|rule| rule.globs()).sum();
        within("globs of reserved ranks", globs, MAX_RESERVED.1)?;
        self.check_globs()?;
        self.check_bytes()
    }

    /// Checks the globs of a person's rules.
    pub(super) fn check_globs(&self) -> Result<(), RulesError> {
        within(
            "globs",
            self.persons().map(WireRule::globs).sum(),
            MAX_WORKER_GLOBS,
        )
    }

    /// Checks the size of a person's rules, without what is not a person's: what was taken once is taken by
    /// every worker, under whatever number, however late.
    pub(super) fn check_bytes(&self) -> Result<(), RulesError> {
        let bytes = self.persons().map(|rule| {
            let mut rule = rule.to_proto();
            rule.number = 0;
            rule.expires_in_ms = 0;
            rule.encoded_len()
        });
        within("bytes", bytes.sum(), MAX_RULES_BYTES)
    }

    /// The rules that a person may have written.
    fn persons(&self) -> impl Iterator<Item = &WireRule> {
        self.rules.iter().filter(|rule| rule.is_of_a_person())
    }

    /// Reads a set off the wire. Rules with fields that are not known here become problems.
    ///
    /// # Errors
    ///
    /// [`RulesError`] if a rule cannot be read, or there is more than allowed.
    pub(crate) fn from_proto(message: &proto::TelemetryRules) -> Result<Self, RulesError> {
        within("rules", message.rules.len(), MAX_RULES + MAX_RESERVED.0)?;
        let mut set = Self {
            revision: message.revision,
            fingerprint: message.fingerprint,
            ..Self::default()
        };
        for bytes in &message.rules {
            let undecodable =
                |error: prost::DecodeError| RulesError::Undecodable(error.to_string());
            let rule = proto::TelemetryRule::decode(&bytes[..]).map_err(undecodable)?;
            let unknown = unknown_field(bytes).map_err(undecodable)?;
            let action = rule.action.as_ref().and_then(WireAction::from_proto);
            match (unknown, action) {
                (Some(number), _) => set.problems.push(RuleProblem::new(
                    rule.id,
                    format!("field {number}"),
                    "this version does not know it",
                )),
                (None, None) => set.problems.push(RuleProblem::new(
                    rule.id,
                    "action",
                    "there is none that this version knows",
                )),
                (None, Some(action)) => set.rules.push(WireRule::from_proto(rule, action)),
            }
        }
        set.check_limits()?;
        Ok(set)
    }

    pub(crate) fn to_proto(&self) -> proto::TelemetryRules {
        let rules = self.rules.iter();
        proto::TelemetryRules {
            revision: self.revision,
            fingerprint: self.fingerprint,
            rules: rules.map(|rule| rule.to_proto().encode_to_vec()).collect(),
        }
    }
}

impl WireRule {
    /// A rule of rank 0 that is in force for ever.
    pub fn new(
        number: u32,
        id: impl Into<String>,
        matches: impl IntoIterator<Item = impl Into<String>>,
        action: WireAction,
    ) -> Self {
        Self {
            number,
            id: id.into(),
            matches: matches.into_iter().map(Into::into).collect(),
            except: Vec::new(),
            rank: 0,
            action,
            expires_in: None,
            count_labels: Vec::new(),
            wire_names: false,
        }
    }

    /// How many globs it has.
    fn globs(&self) -> usize {
        self.matches.len() + self.except.len()
    }

    /// Whether a person may have written it; the ranks beyond are those of the controls of old.
    fn is_of_a_person(&self) -> bool {
        self.rank.unsigned_abs() <= MAX_RANK.unsigned_abs()
    }

    /// A hash of what it means, the same in every version.
    fn fingerprint(&self) -> u64 {
        let mut meaning = self.to_proto();
        meaning.number = 0;
        meaning.expires_in_ms = 0;
        // A budget is what a person wrote; who has how much of it changes all the time.
        if let Some(Action::Budget(budget)) = &mut meaning.action {
            (budget.workers, budget.share) = (0, 0.0);
        }
        meaning.r#match.sort_unstable();
        meaning.except.sort_unstable();
        let mut hasher = Fnv::default();
        hasher.write(&meaning.encode_to_vec());
        hasher.finish()
    }

    fn from_proto(rule: proto::TelemetryRule, action: WireAction) -> Self {
        let action = match action {
            WireAction::PerSecond { limit, .. } => WireAction::PerSecond {
                limit,
                burst: (rule.burst > 0.0).then_some(rule.burst),
            },
            other => other,
        };
        Self {
            number: rule.number,
            id: rule.id,
            matches: rule.r#match,
            except: rule.except,
            rank: rule.rank,
            action,
            expires_in: (rule.expires_in_ms > 0).then(|| Duration::from_millis(rule.expires_in_ms)),
            count_labels: rule.count_labels,
            wire_names: rule.wire_names,
        }
    }

    fn to_proto(&self) -> proto::TelemetryRule {
        let (action, burst) = self.action.to_proto();
        let millis = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        proto::TelemetryRule {
            number: self.number,
            id: self.id.clone(),
            r#match: self.matches.clone(),
            except: self.except.clone(),
            rank: self.rank,
            action: Some(action),
            burst: burst.unwrap_or_default(),
            expires_in_ms: self.expires_in.map_or(0, millis),
            count_labels: self.count_labels.clone(),
            wire_names: self.wire_names,
        }
    }
}

impl WireAction {
    fn from_proto(action: &Action) -> Option<Self> {
        Some(match action {
            Action::Keep(true) => Self::Keep,
            Action::Drop(true) => Self::Drop,
            Action::Off(true) => Self::Off,
            Action::Keep(false) | Action::Drop(false) | Action::Off(false) => return None,
            Action::Rate(rate) => Self::Rate(*rate),
            Action::PerSecond(limit) => Self::PerSecond {
                limit: *limit,
                burst: None,
            },
            Action::Budget(budget) => Self::Budget {
                per_second: budget.per_second,
                workers: budget.workers,
                share: (budget.share > 0.0).then_some(budget.share),
            },
        })
    }

    fn to_proto(self) -> (Action, Option<f64>) {
        let action = match self {
            Self::Keep => Action::Keep(true),
            Self::Drop => Action::Drop(true),
            Self::Off => Action::Off(true),
            Self::Rate(rate) => Action::Rate(rate),
            Self::PerSecond { limit, burst } => return (Action::PerSecond(limit), burst),
            Self::Budget {
                per_second,
                workers,
                share,
            } => Action::Budget(proto::RuleBudget {
                per_second,
                workers,
                share: share.unwrap_or_default(),
            }),
        };
        (action, None)
    }
}

/// Checks a limit.
fn within(what: &'static str, count: usize, max: usize) -> Result<(), RulesError> {
    if count > max {
        return Err(RulesError::TooMany { what, count, max });
    }
    Ok(())
}

/// The first field of an encoded rule that is not known here.
fn unknown_field(mut bytes: &[u8]) -> Result<Option<u32>, prost::DecodeError> {
    while !bytes.is_empty() {
        let (field, wire_type) = decode_key(&mut bytes)?;
        if field > LAST_FIELD {
            return Ok(Some(field));
        }
        skip_field(wire_type, field, &mut bytes, DecodeContext::default())?;
    }
    Ok(None)
}

/// FNV-1a of 64 bits, with its bits mixed at the end so that sums of hashes are as good.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }
}
