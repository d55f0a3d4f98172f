//! A change of the live rules: for the revision that was read, and watched until the workers have it.

use std::time::{Duration, Instant};

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use telemetry_core::{parse_duration, rules::Rule};

use super::{POLICY, STATUS, WAIT, remark};
use crate::api::{Api, Question, block_on};
use crate::failure::Failure;
use crate::look::{Look, field, number, print, print_json};

/// How often a change is made anew because somebody else was quicker.
const ATTEMPTS: usize = 5;

/// How a change is made.
#[derive(Debug, Args)]
pub(crate) struct Change {
    #[command(flatten)]
    pub(crate) look: Look,
    /// Only say what would change.
    #[arg(long)]
    check: bool,
    /// Wait until all workers have it, 30s unless said: exit code 3 if they do not in time.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "30s")]
    wait: Option<String>,
    /// End the rule by itself after so long, e.g. 10m.
    #[arg(long = "for", value_name = "TIME")]
    pub(super) after: Option<String>,
    /// Only if the rules still have this revision.
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
}

/// The live rules of what a manager says of its policy.
pub(super) fn live(policy: &Value) -> Vec<Value> {
    let rules = policy["rules"].as_array().into_iter().flatten();
    let live = rules.filter(|it| it["origin"] == "live");
    live.map(|it| it["rule"].clone()).collect()
}

impl Change {
    /// Refuses an end where there is no single rule that could have it.
    pub(super) fn check_endless(&self) -> Result<(), Failure> {
        match self.after {
            None => Ok(()),
            Some(_) => Err(Failure::Usage(
                "--for ends one rule, so it is for `policy add`, `mute` and `sample`; in a file write for = \"10m\" \
                 into the rule"
                    .to_owned(),
            )),
        }
    }

    /// Gives a rule the end that was asked for.
    pub(super) fn limit(&self, rule: &mut Value) -> Result<(), Failure> {
        if let Some(after) = &self.after {
            rule["for"] = after.as_str().into();
        }
        serde_json::from_value::<Rule>(rule.clone())
            .map(drop)
            .map_err(|error| Failure::Usage(error.to_string()))
    }

    /// Makes of the live rules what is wanted.
    pub(super) fn make(
        &self,
        change: impl Fn(Vec<Value>) -> Result<Vec<Value>, Failure>,
    ) -> Result<(), Failure> {
        let wait = self.wait.as_deref().map(|text| {
            let parsed = parse_duration(text);
            parsed.ok_or_else(|| Failure::Usage(format!("--wait {text:?} is no time such as 30s")))
        });
        let wait = wait.transpose()?;
        let api = Api::of(&self.look.manager)?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let before = block_on(api.json(POLICY))?;
            let rules = change(live(&before))?;
            let body = json!({ "rules": rules }).to_string();
            if self.check {
                return self.tell_check(block_on(api.say(Question {
                    method: Method::POST,
                    path: "/api/v1/policy:check",
                    body: Some(body),
                    if_match: None,
                }))?);
            }
            let if_match = Some(self.if_revision.unwrap_or(number(&before, "/revision")));
            let set = block_on(api.say(Question {
                method: Method::PUT,
                path: POLICY,
                body: Some(body),
                if_match,
            }));
            match set {
                // Somebody else was quicker: it is made of what they did.
                Err(Failure::Stale(_)) if self.if_revision.is_none() && attempts < ATTEMPTS => {}
                Err(failure) => return Err(failure),
                Ok(taken) => return self.follow(&api, taken, wait),
            }
        }
    }

    fn tell_check(&self, check: Value) -> Result<(), Failure> {
        let is_refused = check["problems"]
            .as_array()
            .is_some_and(|it| !it.is_empty());
        if self.look.json {
            print_json(check)?;
        } else {
            warn(&check, "problems");
            warn(&check, "warnings");
            let mut text = String::new();
            for (key, sign) in [("added", '+'), ("changed", '~'), ("removed", '-')] {
                for id in check[key].as_array().into_iter().flatten() {
                    text.push_str(&format!("{sign}{}\n", crate::show::word(Some(id))));
                }
            }
            print(&text)?;
        }
        match is_refused {
            true => Err(Failure::Failed("the rules would not be taken".to_owned())),
            false => Ok(()),
        }
    }

    /// Says what was done, and waits for the workers if that was asked for.
    fn follow(&self, api: &Api, taken: Value, wait: Option<Duration>) -> Result<(), Failure> {
        let revision = number(&taken, "/revision");
        let Some(wait) = wait else {
            if self.look.json {
                return print_json(taken);
            }
            warn(&taken, "warnings");
            let workers = field(&taken, "/workers");
            return print(&format!("revision {revision}, for {workers} workers\n"));
        };
        warn(&taken, "warnings");
        let end = Instant::now() + wait;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // In whole seconds, the last one begun.
            let seconds = left.as_secs_f64().ceil().min(WAIT as f64);
            let status = block_on(api.json(&format!("{STATUS}?wait={seconds}")))?;
            let is_over = status["settled"] == true || Instant::now() >= end;
            if !is_over {
                continue;
            }
            let (converged, settled) = (status["converged"] == true, status["settled"] == true);
            let text = super::describe(&status);
            match self.look.json {
                true => print_json(status)?,
                false => print(&text)?,
            }
            return match (converged, settled) {
                (true, _) => Ok(()),
                (false, true) => Err(Failure::Failed("some workers refuse the rules".to_owned())),
                (false, false) => Err(Failure::Late(format!(
                    "revision {revision} is set, and not all workers have it yet"
                ))),
            };
        }
    }
}

/// Says what is wrong, or probably not meant.
fn warn(said: &Value, key: &str) {
    for problem in said[key].as_array().into_iter().flatten() {
        let [rule, place, error] = ["/rule", "/field", "/error"].map(|it| field(problem, it));
        remark(&format!("rule {rule}: {place}: {error}"));
    }
}
