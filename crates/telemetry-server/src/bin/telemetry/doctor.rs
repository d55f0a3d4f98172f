//! `telemetry doctor`: what is not as it should be with a configuration, a manager and its workers, and what to do.
//!
//! Looks only. What keeps telemetry from working fails; what may be meant so is a warning.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};
use telemetry_server::config::{Config, HttpSection};
use telemetry_server::telemetry_tls::ServerTls;

use crate::api::{Api, block_on};
use crate::failure::Failure;
use crate::look::{Look, field, number, print, print_json, total};
use crate::running::DEFAULT_CONFIG;
use crate::show;

/// Most names of a kind that are said.
const MOST: usize = 5;

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    /// How bad it is, and what.
    all: Vec<(&'static str, String)>,
}

impl Findings {
    fn good(&mut self, what: String) {
        self.all.push(("ok", what));
    }

    fn warn(&mut self, what: String) {
        self.all.push(("warn", what));
    }

    fn fail(&mut self, what: String) {
        self.all.push(("FAIL", what));
    }
}

/// Looks, says what it found, and fails if something keeps telemetry from working.
pub(crate) fn run(look: &Look) -> Result<(), Failure> {
    let mut found = Findings::default();
    let named = look.manager.config();
    if let Some(path) = named.or_else(|| here(look)) {
        configuration(path, &mut found);
    }
    manager(look, &mut found)?;
    if look.json {
        let items = found.all.iter();
        let items = items.map(|(level, what)| json!({ "level": level, "what": what }));
        print_json(json!({ "items": items.collect::<Vec<_>>() }))?;
    } else {
        let lines = found.all.iter();
        let lines = lines.map(|(level, what)| format!("{level:<5} {what}\n"));
        print(&lines.collect::<String>())?;
    }
    let failures = found
        .all
        .iter()
        .filter(|(level, _)| *level == "FAIL")
        .count();
    match failures {
        0 => Ok(()),
        some => Err(Failure::Failed(format!(
            "{some} of these keep telemetry from working"
        ))),
    }
}

/// The configuration here, if a manager that is found here is meant.
fn here(look: &Look) -> Option<&'static Path> {
    let here = Path::new(DEFAULT_CONFIG);
    (look.manager.is_open() && here.exists()).then_some(here)
}

fn configuration(path: &Path, found: &mut Findings) {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return found.fail(error.to_string()),
    };
    found.good(format!("the configuration {} is good", path.display()));
    if let Some(run_dir) = &config.run_dir {
        match std::fs::metadata(run_dir) {
            Ok(held) if held.mode() & 0o022 != 0 => found.fail(format!(
                "run_dir {} has mode {:04o}, so others may write to it; chmod 700 it",
                run_dir.display(),
                held.mode() & 0o7777
            )),
            Ok(_) => {}
            Err(error) => found.warn(format!(
                "run_dir {} cannot be looked at ({error}); a manager makes it when it starts",
                run_dir.display()
            )),
        }
    }
    for pool in &config.pools {
        let program = pool.command.first().map(Path::new);
        if let Some(program) = program.filter(|program| program.is_absolute() && !program.exists())
        {
            found.fail(format!(
                "pool {:?}: there is no {}",
                pool.name,
                program.display()
            ));
        }
    }
    match &config.http {
        Some(http) => door(http, found),
        None => found.warn(
            "there is no [http], so nobody can ask this manager; add that section".to_owned(),
        ),
    }
}

/// The token and the certificate of the port.
fn door(http: &HttpSection, found: &mut Findings) {
    if let Some(token) = &http.token
        && http.listen.is_some()
    {
        match token.read() {
            Ok(_) => {}
            Err(error) => found.warn(format!("over the port nobody is let in with this: {error}")),
        }
    }
    if let Some(tls) = &http.tls {
        let read = ServerTls::new(tls, &["http/1.1"]);
        match read.map(|tls| tls.problem()) {
            Ok(None) => found.good("the certificate of the port can be used".to_owned()),
            Ok(Some(problem)) => found.fail(format!("[http.tls]: {problem}")),
            Err(error) => found.fail(format!("[http.tls]: {error}")),
        }
    }
}

/// What a running manager says of itself.
fn manager(look: &Look, found: &mut Findings) -> Result<(), Failure> {
    let api = Api::of(&look.manager)?;
    let fleet = match block_on(api.json("/api/v1/fleet")) {
        Ok(fleet) => fleet,
        Err(failure) => {
            let (text, _) = failure.told();
            found.fail(text.unwrap_or_default());
            return Ok(());
        }
    };
    found.good(format!(
        "manager {} on {} answers; {} of {} workers are streaming",
        field(&fleet, "/version"),
        field(&fleet, "/node"),
        field(&fleet, "/streaming"),
        field(&fleet, "/workers")
    ));
    if fleet["version"] != env!("CARGO_PKG_VERSION") {
        found.warn(format!(
            "this command is of version {}",
            env!("CARGO_PKG_VERSION")
        ));
    }
    workers(&look.all("/api/v1/workers")?, found);
    names(&look.all("/api/v1/quarantine?sort=-count")?, found);
    for handler in &look.all("/api/v1/handlers")? {
        let dropped = total(handler, "/dropped");
        if dropped > 0 {
            let id = field(handler, "/id");
            found.warn(format!(
                "handler {id} did not take {dropped} events; see `telemetry handlers --json`"
            ));
        }
    }
    policy(
        &look.ask("/api/v1/policy")?,
        &look.ask("/api/v1/policy/status")?,
        found,
    );
    laws(&look.ask("/api/v1/ledger")?, found);
    Ok(())
}

fn workers(workers: &[Value], found: &mut Findings) {
    for worker in workers {
        let (id, state) = (field(worker, "/id"), field(worker, "/state"));
        let error = match worker.get("last_error") {
            None => String::new(),
            Some(error) => format!(": {}", show::word(Some(error))),
        };
        match state.as_str() {
            "streaming" | "ready" => {}
            "backoff" | "closed" => {
                found.fail(format!("worker {id} is not there ({state}){error}"));
            }
            "replaced" => found.warn(format!("worker {id} streams to another manager{error}")),
            _ => found.warn(format!("worker {id} is {state}{error}")),
        }
        let stalled = number(worker, "/stalled_ns");
        if stalled > 0 {
            let stalled = show::span(stalled);
            found.warn(format!(
                "the program of worker {id} has not been able to run for {stalled}"
            ));
        }
        if let Some(error) = worker.pointer("/policy/error") {
            let error = show::word(Some(error));
            found.fail(format!("worker {id} refused the last control: {error}"));
        }
        for (reason, what) in [
            ("queue_full", "since its queue was full"),
            ("evicted_oldest", "since its queue was full"),
            ("oversize", "which were too large"),
            ("invalid_name", "whose names are none"),
            ("invalid_value", "whose values are none"),
        ] {
            let dropped = number(worker, &format!("/ledger/dropped/{reason}"));
            if dropped > 0 {
                found.warn(format!("worker {id} dropped {dropped} events {what}"));
            }
        }
    }
}

fn names(names: &[Value], found: &mut Findings) {
    for name in names.iter().take(MOST) {
        let hint = match name["suggestion"].as_str() {
            Some(meant) => format!("did you mean {}?", show::word(Some(&meant.into()))),
            None => {
                "if it is meant, add it to [catalog.events]; `telemetry catalog learn` writes that"
                    .to_owned()
            }
        };
        let (count, name) = (field(name, "/count"), field(name, "/name"));
        found.warn(format!(
            "{count} events named {name} were rejected, since nobody knows that name; {hint}"
        ));
    }
    if names.len() > MOST {
        let more = names.len() - MOST;
        found.warn(format!("and {more} names more; see `telemetry quarantine`"));
    }
}

fn policy(policy: &Value, status: &Value, found: &mut Findings) {
    if let Some(why) = policy.get("degraded") {
        found.fail(format!(
            "the live rules are not those that were set: {}",
            show::word(Some(why))
        ));
    }
    let refused = number(status, "/workers/refused");
    if refused > 0 {
        found.fail(format!(
            "{refused} workers refuse the rules; see `telemetry policy status`"
        ));
    }
    for worker in status["others"].as_array().into_iter().flatten() {
        let problems = worker["problems"].as_array().into_iter().flatten();
        if problems.count() > 0 {
            let id = field(worker, "/id");
            found.warn(format!(
                "worker {id} does not apply every rule; see `telemetry policy status`"
            ));
        }
    }
}

fn laws(ledger: &Value, found: &mut Findings) {
    if ledger["balances"] == true {
        return found.good("every event is accounted for".to_owned());
    }
    for law in ledger["laws"].as_array().into_iter().flatten() {
        if let Some(why) = law.get("why") {
            let (law, of) = (field(law, "/law"), field(law, "/of"));
            // With events under way that may be for a moment only.
            found.warn(format!(
                "law {law} of {of} does not hold now: {}",
                show::word(Some(why))
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_what_to_do_and_what_is_right_is_not() {
        let mut found = Findings::default();
        workers(
            &[
                json!({ "id": "w-1", "state": "streaming", "ledger": { "dropped": {} } }),
                json!({ "id": "w-2", "state": "backoff", "last_error": "exit code 1", "stalled_ns": 2_000_000_000_u64,
                        "ledger": { "dropped": { "queue_full": 3 } } }),
            ],
            &mut found,
        );
        names(
            &[json!({ "name": "tol.x", "count": 2, "suggestion": "tool.x" })],
            &mut found,
        );
        policy(
            &json!({}),
            &json!({ "workers": { "refused": 1 } }),
            &mut found,
        );
        laws(&json!({ "balances": true }), &mut found);
        let levels: Vec<&str> = found.all.iter().map(|(level, _)| *level).collect();
        assert_eq!(levels, ["FAIL", "warn", "warn", "warn", "FAIL", "ok"]);
        assert_eq!(
            found.all[0].1,
            "worker w-2 is not there (backoff): exit code 1"
        );
        assert!(
            found.all[3].1.ends_with("did you mean tool.x?"),
            "{found:?}"
        );
    }
}
