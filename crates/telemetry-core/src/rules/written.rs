//! The written form of a rule, the same in TOML and JSON. Every refusal names the rule and the field.
//!
//! Written by hand: what a derived reader says of a wrong field names neither.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Expiry, Rule, RuleAction};
use crate::duration::{DURATION_FORM, parse_duration};
use crate::suggest::nearest;

/// The keys of actions.
const ACTIONS: &str = "keep, drop, rate, per_second, budget or off";
/// All keys.
const KEYS: [&str; 17] = [
    "id",
    "description",
    "target",
    "match",
    "except",
    "keep",
    "drop",
    "rate",
    "per_second",
    "burst",
    "budget",
    "off",
    "rank",
    "for",
    "expires_ns",
    "enabled",
    "count_labels",
];

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        if !self.description.is_empty() {
            map.serialize_entry("description", &self.description)?;
        }
        map.serialize_entry("match", &self.matches)?;
        if !self.except.is_empty() {
            map.serialize_entry("except", &self.except)?;
        }
        let key = self.action.key();
        match self.action {
            RuleAction::Keep | RuleAction::Drop | RuleAction::Off => {
                map.serialize_entry(key, &true)?;
            }
            RuleAction::Rate(number) | RuleAction::Budget(number) => {
                map.serialize_entry(key, &number)?;
            }
            RuleAction::PerSecond { limit, burst } => {
                map.serialize_entry(key, &limit)?;
                if let Some(burst) = burst {
                    map.serialize_entry("burst", &burst)?;
                }
            }
        }
        if self.rank != 0 {
            map.serialize_entry("rank", &self.rank)?;
        }
        match self.expiry {
            None => {}
            Some(Expiry::In(after)) => {
                map.serialize_entry("for", &format_args!("{}ms", after.as_millis()))?;
            }
            Some(Expiry::At(end)) => map.serialize_entry("expires_ns", &end)?,
        }
        if !self.enabled {
            map.serialize_entry("enabled", &false)?;
        }
        if !self.count_labels.is_empty() {
            map.serialize_entry("count_labels", &self.count_labels)?;
        }
        // A table comes behind what is none, which TOML asks for.
        if !self.target.is_all() {
            map.serialize_entry("target", &self.target)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Draft {
            rule: Self::new("", [""; 0], RuleAction::Keep),
            actions: Vec::new(),
            burst: None,
            has_match: false,
        })
    }
}

/// A rule of which some fields were read.
struct Draft {
    /// What was read; without an action of its own it is no rule.
    rule: Rule,
    /// The actions.
    actions: Vec<RuleAction>,
    /// The burst, which belongs to a limit.
    burst: Option<f64>,
    /// Whether there is a list of globs.
    has_match: bool,
}

impl<'de> Visitor<'de> for Draft {
    type Value = Rule;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a rule")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Rule, A::Error> {
        let mut unknown = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "id" => self.rule.id = self.value(&mut map, "id")?,
                "description" => self.rule.description = self.value(&mut map, "description")?,
                "target" => self.rule.target = self.value(&mut map, "target")?,
                "match" => {
                    self.rule.matches = self.value(&mut map, "match")?;
                    self.has_match = true;
                }
                "except" => self.rule.except = self.value(&mut map, "except")?,
                "keep" => self.switch(&mut map, RuleAction::Keep)?,
                "drop" => self.switch(&mut map, RuleAction::Drop)?,
                "off" => self.switch(&mut map, RuleAction::Off)?,
                "rate" => {
                    let rate = self.value(&mut map, "rate")?;
                    self.actions.push(RuleAction::Rate(rate));
                }
                "per_second" => {
                    let limit = self.value(&mut map, "per_second")?;
                    self.actions
                        .push(RuleAction::PerSecond { limit, burst: None });
                }
                "budget" => {
                    let budget = self.value(&mut map, "budget")?;
                    self.actions.push(RuleAction::Budget(budget));
                }
                "burst" => self.burst = Some(self.value(&mut map, "burst")?),
                "rank" => self.rule.rank = self.value(&mut map, "rank")?,
                "for" => {
                    let text: String = self.value(&mut map, "for")?;
                    let after = parse_duration(&text).filter(|after| !after.is_zero());
                    self.expire(after.map(Expiry::In), "for")
                        .map_err(A::Error::custom)?;
                }
                "expires_ns" => {
                    let end = self.value(&mut map, "expires_ns")?;
                    self.expire(Some(Expiry::At(end)), "expires_ns")
                        .map_err(A::Error::custom)?;
                }
                "enabled" => self.rule.enabled = self.value(&mut map, "enabled")?,
                "count_labels" => self.rule.count_labels = self.value(&mut map, "count_labels")?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    unknown.get_or_insert(key);
                }
            }
        }
        match unknown {
            Some(key) => Err(self.unknown(&key)),
            None => self.into_rule(),
        }
        .map_err(A::Error::custom)
    }
}

impl Draft {
    /// The value of a field.
    fn value<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
        &self,
        map: &mut A,
        field: &str,
    ) -> Result<T, A::Error> {
        map.next_value()
            .map_err(|error| A::Error::custom(self.wrong(field, &error)))
    }

    /// Reads an action that has no number.
    fn switch<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        action: RuleAction,
    ) -> Result<(), A::Error> {
        let key = action.key();
        if !self.value::<A, bool>(map, key)? {
            let problem = self.wrong(key, &"expected true; leave it away otherwise");
            return Err(A::Error::custom(problem));
        }
        self.actions.push(action);
        Ok(())
    }

    /// Takes in an end.
    fn expire(&mut self, expiry: Option<Expiry>, field: &str) -> Result<(), String> {
        if self.rule.expiry.is_some() {
            return Err(self.wrong(field, &"only one of for and expires_ns is allowed"));
        }
        self.rule.expiry = expiry;
        match expiry {
            Some(_) => Ok(()),
            None => Err(self.wrong(
                field,
                &format_args!("expected a time above zero: {DURATION_FORM}"),
            )),
        }
    }

    /// The whole rule.
    fn into_rule(mut self) -> Result<Rule, String> {
        let [action] = self.actions[..] else {
            let keys: Vec<_> = self.actions.iter().map(RuleAction::key).collect();
            let found = if keys.is_empty() {
                "none".to_owned()
            } else {
                keys.join(" and ")
            };
            let problem = format_args!("exactly one of {ACTIONS} is allowed, found {found}");
            return Err(self.wrong("action", &problem));
        };
        self.rule.action = match (action, self.burst) {
            (RuleAction::PerSecond { limit, .. }, burst) => RuleAction::PerSecond { limit, burst },
            (action, None) => action,
            (_, Some(_)) => return Err(self.wrong("burst", &"it is allowed with per_second only")),
        };
        if self.rule.id.is_empty() {
            return Err(self.wrong("id", &"it is missing"));
        }
        if !self.has_match {
            return Err(self.wrong("match", &"it is missing; write [\"*\"] for every event"));
        }
        Ok(self.rule)
    }

    /// Says of a field that there is none.
    fn unknown(&self, key: &str) -> String {
        let problem = match nearest(key, KEYS) {
            Some(meant) => format!("no such field; did you mean {meant}?"),
            None => format!("no such field; allowed are {}", KEYS.join(", ")),
        };
        self.wrong(key, &problem)
    }

    /// Says what is wrong with a field.
    fn wrong(&self, field: &str, problem: &dyn fmt::Display) -> String {
        match self.rule.id.as_str() {
            "" => format!("a rule: {field}: {problem}"),
            id => format!("rule {id:?}: {field}: {problem}"),
        }
    }
}
