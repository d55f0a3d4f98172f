//! `telemetry policy` and its short forms `mute`, `unmute` and `sample`: looks at the rules and changes the live ones.
//!
//! A change is read, made here and sent back for the revision that was read, so that two people do not undo each
//! other. Exit codes: 0 done, and with --wait converged; 1 refused; 2 wrong usage; 3 not in time; 4 rolled back.

mod change;
mod rule;
mod target;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use telemetry_server::config::Config;

use crate::failure::Failure;
use crate::look::{Look, column, field, number, print, print_json, table};
use crate::show;

pub(crate) use change::Change;
pub(crate) use rule::Added;

/// Where the rules are.
const POLICY: &str = "/api/v1/policy";

/// How far the workers are.
const STATUS: &str = "/api/v1/policy/status";
/// Seconds that a manager may wait with an answer: less than a connection is waited for.
const WAIT: u64 = 4;

/// What is to be done with the rules.
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Print the live rules, as `set` takes them; with --json all rules.
    Get(Look),
    /// Replace the live rules by those of a file.
    Set {
        /// JSON like {"rules": [{"id": "slow", "match": ["tool.*"], "rate": 0.1}]}, or TOML with [[policy.rule]]; - for
        /// stdin.
        file: PathBuf,
        #[command(flatten)]
        change: Change,
    },
    /// Add a rule, or replace the one with its id.
    Add {
        #[command(flatten)]
        rule: Box<Added>,
        #[command(flatten)]
        change: Change,
    },
    /// Take rules away.
    Rm {
        /// Their ids.
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Show how far the workers are, and what became of each rule.
    Status {
        #[command(flatten)]
        look: Look,
        /// Show it again whenever it has changed, until all workers have what they should.
        #[arg(long)]
        watch: bool,
    },
    /// List the changes of the live rules since the manager started.
    History(Look),
    /// Set the live rules as they were at a revision of the history.
    Restore {
        /// The revision.
        revision: u64,
        #[command(flatten)]
        change: Change,
    },
}

/// Whom, for a short form.
#[derive(Debug, Args)]
pub(crate) struct Aim {
    /// pool:NAME, worker:GLOB, all, or the name of a pool or the id of a worker.
    #[arg(value_name = "TARGET")]
    target: String,
    #[command(flatten)]
    change: Change,
}

/// Does it.
pub(crate) fn run(policy: &Policy) -> Result<(), Failure> {
    match policy {
        Policy::Get(look) => get(look),
        Policy::Set { file, change } => {
            change.check_endless()?;
            let rules = read(file)?;
            change.make(|_| Ok(rules.clone()))
        }
        Policy::Add { rule, change } => {
            let rule = rule.written(change)?;
            change.make(|live| Ok(put(live, rule.clone())))
        }
        Policy::Rm { ids, change } => {
            change.check_endless()?;
            change.make(|live| take(live, ids))
        }
        Policy::Status { look, watch } => status(look, *watch),
        Policy::History(look) => history(look),
        Policy::Restore { revision, change } => {
            change.check_endless()?;
            let history = change.look.ask("/api/v1/policy/history")?;
            let items = history["items"].as_array().into_iter().flatten();
            let mut items = items.filter(|it| it["revision"] == *revision);
            let rules = items.next().and_then(|it| it["rules"].as_array()).cloned();
            let rules = rules.ok_or_else(|| {
                Failure::Failed(format!(
                    "the history has no revision {revision}; `telemetry policy history` lists those there are"
                ))
            })?;
            change.make(|_| Ok(rules.clone()))
        }
    }
}

/// The workers emit nothing from now on.
pub(crate) fn mute(aim: &Aim) -> Result<(), Failure> {
    let target = target::resolve(&aim.change.look, &aim.target)?;
    let mut rule = json!({ "id": target.id("mute"), "match": ["*"], "off": true });
    aim.change.limit(&mut rule)?;
    target.aim(&mut rule);
    aim.change.make(|live| Ok(put(live, rule.clone())))
}

/// They emit again.
pub(crate) fn unmute(aim: &Aim) -> Result<(), Failure> {
    aim.change.check_endless()?;
    let target = target::resolve(&aim.change.look, &aim.target)?;
    aim.change.make(|live| take(live, &[target.id("mute")]))
}

/// Only a part of their events is kept; all of them with a rate of 1.
pub(crate) fn sample(aim: &Aim, rate: f64, globs: &[String]) -> Result<(), Failure> {
    let target = target::resolve(&aim.change.look, &aim.target)?;
    let id = target::id_with(&target.id("sample"), globs);
    if rate == 1.0 {
        return aim
            .change
            .make(|live| take(live, std::slice::from_ref(&id)));
    }
    let all = ["*".to_owned()];
    let globs = if globs.is_empty() { &all } else { globs };
    let mut rule = json!({ "id": id, "match": globs, "rate": rate });
    aim.change.limit(&mut rule)?;
    target.aim(&mut rule);
    aim.change.make(|live| Ok(put(live, rule.clone())))
}

/// The rules with this one, in place of that of its id.
fn put(mut live: Vec<Value>, rule: Value) -> Vec<Value> {
    live.retain(|it| it["id"] != rule["id"]);
    live.push(rule);
    live
}

/// The rules without these.
fn take(live: Vec<Value>, ids: &[String]) -> Result<Vec<Value>, Failure> {
    for id in ids {
        if live.iter().all(|rule| rule["id"] != id.as_str()) {
            return Err(Failure::Failed(format!(
                "there is no live rule {id:?}; `telemetry policy status` lists those there are"
            )));
        }
    }
    let is_left = |rule: &Value| ids.iter().all(|id| rule["id"] != id.as_str());
    Ok(live.into_iter().filter(is_left).collect())
}

fn get(look: &Look) -> Result<(), Failure> {
    let policy = look.ask(POLICY)?;
    match look.json {
        true => print_json(policy),
        false => print(&format!(
            "{:#}\n",
            json!({ "rules": change::live(&policy) })
        )),
    }
}

/// The rules of a file.
fn read(file: &Path) -> Result<Vec<Value>, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().read_to_string(&mut text).map(drop)
    } else {
        fs::read_to_string(file).map(|read| text = read)
    };
    read.map_err(|error| Failure::Usage(format!("cannot read the rules {file:?}: {error}")))?;
    let wrong = |what: &dyn std::fmt::Display| {
        let what = format!(
            "{file:?} has no rules: {what}; it is like {{\"rules\": […]}} (with an empty list for none), or has \
             [[policy.rule]]"
        );
        Failure::Usage(what)
    };
    if !text.trim_start().starts_with('{') {
        if !text.contains("[[policy.rule]]") {
            return Err(wrong(&"there is no [[policy.rule]]"));
        }
        let rules = Config::parse(&text, &file.to_string_lossy())?.policy.rules;
        let rules = rules.iter().map(serde_json::to_value);
        return rules.collect::<Result<_, _>>().map_err(Failure::of);
    }
    let mut said: Value = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    match said["rules"].take() {
        Value::Array(rules) => Ok(rules),
        _ => Err(wrong(&"there is no list `rules`")),
    }
}

fn status(look: &Look, watch: bool) -> Result<(), Failure> {
    let mut last = None;
    // The first look waits for nobody.
    let mut wait = 0;
    loop {
        let status = look.ask(&format!("{STATUS}?wait={wait}"))?;
        let is_over = !watch || status["settled"] == true;
        wait = WAIT;
        if last.as_ref() != Some(&status) {
            match look.json {
                true => print_json(status.clone())?,
                false => print(&describe(&status))?,
            }
            last = Some(status);
        }
        if is_over {
            return Ok(());
        }
    }
}

/// How far a policy is, for people.
fn describe(status: &Value) -> String {
    let counts = status["workers"].as_object().into_iter().flatten();
    let counts = counts.filter(|(_, count)| **count != 0);
    let counts: Vec<String> = counts
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let counts = if counts.is_empty() {
        "no workers".to_owned()
    } else {
        counts.join(", ")
    };
    let mut text = format!("revision {}: {counts}\n", field(status, "/revision"));
    let columns = [
        column("RULE", |rule| field(rule, "/id")),
        column("ORIGIN", |rule| field(rule, "/origin")),
        column("MATCHED", |rule| field(rule, "/matched")),
        column("KEPT", |rule| field(rule, "/kept")),
        column("DROPPED", |rule| field(rule, "/dropped")),
        column("UNTIL", |rule| {
            show::time_of_day(rule["expires_ns"].as_i64().unwrap_or_default())
        }),
    ];
    if let Some(rules @ [_, ..]) = status["rules"].as_array().map(Vec::as_slice) {
        text.push_str(&table(rules, &columns, None));
    }
    for worker in status["others"].as_array().into_iter().flatten() {
        let (id, state) = (field(worker, "/id"), field(worker, "/state"));
        if state != "away" {
            text.push_str(&format!("{id}: {state}\n"));
        }
        for problem in worker["problems"].as_array().into_iter().flatten() {
            let [rule, place, error] = ["/rule", "/field", "/error"].map(|it| field(problem, it));
            text.push_str(&format!("{id}: rule {rule}: {place}: {error}\n"));
        }
    }
    text
}

fn history(look: &Look) -> Result<(), Failure> {
    let history = look.ask("/api/v1/policy/history")?;
    if look.json {
        return print_json(history);
    }
    let ids = |row: &Value, key: &str, sign: char| {
        let ids = row[key].as_array().into_iter().flatten();
        ids.map(|id| format!(" {sign}{}", show::word(Some(id))))
            .collect::<String>()
    };
    let mut text = String::new();
    for row in history["items"].as_array().into_iter().flatten() {
        let at = show::time_of_day(row["at_ns"].as_i64().unwrap_or_default());
        let changes = [("added", '+'), ("changed", '~'), ("removed", '-')];
        let changes: String = changes
            .iter()
            .map(|(key, sign)| ids(row, key, *sign))
            .collect();
        let revision = number(row, "/revision");
        text.push_str(&format!(
            "{revision}  {at}  {}{changes}\n",
            field(row, "/by")
        ));
    }
    if text.is_empty() {
        text.push_str("the live rules were not changed since the manager started\n");
    }
    print(&text)
}

/// Says something that is no answer.
fn remark(text: &str) {
    // Whoever does not hear it misses nothing that counts.
    let _unheard = writeln!(io::stderr(), "telemetry: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_said_in_a_line_and_a_table() {
        let status = json!({
            "revision": 7, "workers": { "applied": 3, "pending": 1, "away": 0 },
            "rules": [{ "id": "slow", "origin": "live", "matched": 10, "kept": 1, "dropped": 9 }],
            "others": [
                { "id": "w-1", "state": "pending", "problems": [] },
                { "id": "w-2", "state": "applied", "problems": [{ "rule": "x", "field": "action", "error": "new" }] },
            ],
        });
        let text = describe(&status);
        assert!(
            text.starts_with("revision 7: 3 applied, 1 pending\nRULE  ORIGIN"),
            "{text}"
        );
        assert!(
            text.ends_with("w-1: pending\nw-2: applied\nw-2: rule x: action: new\n"),
            "{text}"
        );
    }

    #[test]
    fn a_rule_takes_the_place_of_that_of_its_id_and_only_one_that_is_there_is_taken_away() {
        let live = vec![json!({ "id": "a", "rate": 1 }), json!({ "id": "b" })];
        let live = put(live, json!({ "id": "a", "rate": 2 }));
        assert_eq!(live.len(), 2);
        assert_eq!(
            take(live.clone(), &["a".to_owned()]).expect("there"),
            [json!({ "id": "b" })]
        );
        assert!(take(live, &["c".to_owned()]).is_err());
    }
}
