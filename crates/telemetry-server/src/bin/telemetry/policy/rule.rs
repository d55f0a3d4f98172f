//! A rule as options of the command line.

use clap::Args;
use serde_json::{Value, json};

use super::change::Change;
use crate::failure::Failure;

/// A rule.
#[derive(Debug, Args)]
pub(crate) struct Added {
    /// Its name: a-z 0-9 . _ -
    id: String,
    /// The events that it is about; all by default.
    #[arg(long = "match", value_name = "GLOB", default_value = "*")]
    matches: Vec<String>,
    /// The events that it is not about after all.
    #[arg(long, value_name = "GLOB")]
    except: Vec<String>,
    /// Keep them.
    #[arg(long, group = "action")]
    keep: bool,
    /// Drop them.
    #[arg(long, group = "action")]
    drop: bool,
    /// Keep this part of them, 0 to 1.
    #[arg(long, group = "action", value_name = "RATE")]
    rate: Option<f64>,
    /// Keep so many a second, of each worker.
    #[arg(long, group = "action", value_name = "EVENTS")]
    per_second: Option<f64>,
    /// How many may come at once, with --per-second.
    #[arg(long, value_name = "EVENTS")]
    burst: Option<f64>,
    /// These workers emit nothing at all.
    #[arg(long, group = "action")]
    off: bool,
    /// Only workers of these pools.
    #[arg(long, value_name = "GLOB")]
    pool: Option<String>,
    /// Only these workers.
    #[arg(long, value_name = "GLOB")]
    worker: Option<String>,
    /// Of the rules about an event only those of the highest rank count; -100 to 100.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    rank: i32,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
}

impl Added {
    /// The rule in its written form, if it is one.
    pub(super) fn written(&self, change: &Change) -> Result<Value, Failure> {
        let mut rule = json!({ "id": self.id, "match": self.matches });
        if !self.except.is_empty() {
            rule["except"] = json!(self.except);
        }
        for (key, is_said) in [("keep", self.keep), ("drop", self.drop), ("off", self.off)] {
            if is_said {
                rule[key] = true.into();
            }
        }
        let numbers = [
            ("rate", self.rate),
            ("per_second", self.per_second),
            ("burst", self.burst),
        ];
        for (key, number) in numbers {
            if let Some(number) = number {
                rule[key] = number.into();
            }
        }
        let mut target = serde_json::Map::new();
        for (key, glob) in [("pool", &self.pool), ("worker", &self.worker)] {
            if let Some(glob) = glob {
                target.insert(key.to_owned(), glob.as_str().into());
            }
        }
        if !target.is_empty() {
            rule["target"] = target.into();
        }
        if self.rank != 0 {
            rule["rank"] = self.rank.into();
        }
        if let Some(description) = &self.description {
            rule["description"] = description.as_str().into();
        }
        change.limit(&mut rule)?;
        Ok(rule)
    }
}
