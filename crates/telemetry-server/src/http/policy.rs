//! `/api/v1/policy`: looks at the rules and changes the live ones.
//!
//! A change says which revision it is about, so that nobody undoes what somebody else did meanwhile. What is wrong with
//! rules is said all at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use telemetry_core::rules::{MAX_RULES, Rule, RuleProblem};
use tokio::sync::Semaphore;

use super::answer::{Problem, json};
use super::query::Query;
use crate::api::{List, Policy, PolicyChange, PolicyChecked, PolicyStatus, PolicyTaken, Refused};
use crate::manager::Manager;
use crate::policy::PolicyRefused;

/// Most bytes of rules as they are sent: as many as they may have on the wire, in words.
const MAX_BODY_BYTES: usize = 256 * 1_024;
/// How long rules may be on their way.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for workers, in seconds.
const MAX_WAIT: u64 = 60;
/// Changes that are remembered.
const MAX_CHANGES: usize = 32;

/// Most that may wait for a policy at once: each has a place that others could have.
const MAX_WAITING: usize = 16;
/// Their places.
static WAITING: Semaphore = Semaphore::const_new(MAX_WAITING);

/// The changes that were made here, the newest last. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    inner: Arc<Mutex<VecDeque<PolicyChange>>>,
}

impl Changes {
    fn add(&self, change: PolicyChange) {
        let mut changes = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.len() == MAX_CHANGES {
            changes.pop_front();
        }
        changes.push_back(change);
    }

    /// All of them, the newest first.
    pub(super) fn list(&self) -> List<PolicyChange> {
        let changes = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        List {
            items: changes.iter().rev().cloned().collect(),
            total: changes.len(),
            next: None,
        }
    }
}

/// The rules, with their revision as `ETag`.
pub(super) fn show(manager: &Manager) -> Response {
    let policy = Policy::from(manager.policy());
    tagged(policy.revision, json(&policy))
}

fn tagged(revision: u64, value: Value) -> Response {
    ([(ETAG, format!("\"{revision}\""))], Json(value)).into_response()
}

/// How far the workers are; with `wait` once they are so far, or that many seconds are over.
pub(super) async fn status(manager: &Manager, query: &Query) -> Result<Response, Problem> {
    let wait = query.get("wait").map_or(Ok(0), str::parse);
    let wait = wait
        .ok()
        .filter(|wait| *wait <= MAX_WAIT)
        .ok_or_else(|| Problem::asked(format!("wait: seconds, 0 to {MAX_WAIT}, are allowed")))?;
    let status = match wait {
        0 => manager.policy_status(),
        wait => {
            let Ok(_place) = WAITING.try_acquire() else {
                let what = format!("{MAX_WAITING} may wait at once; ask without `wait`, or later");
                return Err(Problem(StatusCode::SERVICE_UNAVAILABLE, what));
            };
            manager.await_policy(Duration::from_secs(wait)).await
        }
    };
    Ok(Json(json(&PolicyStatus::from(status))).into_response())
}

/// What rules would change.
pub(super) async fn check(manager: &Manager, body: Body) -> Result<Response, Problem> {
    let (rules, mut problems) = read(body).await?;
    let mut check = manager.check_policy(&rules);
    problems.append(&mut check.problems);
    check.problems = problems;
    Ok(Json(json(&PolicyChecked::from(check))).into_response())
}

/// Replaces the live rules.
pub(super) async fn set(
    manager: &Manager,
    changes: &Changes,
    by: String,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let if_revision = revision_of(headers)?;
    let (rules, mut problems) = read(body).await?;
    let check = manager.check_policy(&rules);
    if !problems.is_empty() {
        problems.extend(check.problems);
        return Ok(wrong(problems));
    }
    // Whoever asked may be gone before it is done: then it is in the history all the same.
    let (of, told) = (manager.clone(), changes.clone());
    let setting = tokio::spawn(async move {
        let receipt = of.set_policy(rules.clone(), if_revision).await?;
        told.add(PolicyChange {
            revision: receipt.revision,
            at_ns: of.dispatcher().clock().unix_nanos(),
            by,
            added: check.added,
            removed: check.removed,
            changed: check.changed,
            rules,
        });
        Ok(receipt)
    });
    let set = setting.await.unwrap_or_else(|error| {
        let error = std::io::Error::other(error);
        Err(PolicyRefused::State(error))
    });
    match set {
        Ok(receipt) => {
            let taken = PolicyTaken::from(receipt);
            Ok(tagged(taken.revision, json(&taken)))
        }
        Err(PolicyRefused::Problems(problems)) => Ok(wrong(problems)),
        Err(error @ PolicyRefused::Stale { .. }) => {
            Err(Problem(StatusCode::PRECONDITION_FAILED, error.to_string()))
        }
        Err(error) => Err(Problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string(),
        )),
    }
}

/// Rules that are not taken, with everything that is wrong.
fn wrong(problems: Vec<RuleProblem>) -> Response {
    let mut refused = Refused::new("the rules are not taken; nothing has changed");
    refused.problems = problems.into_iter().map(Into::into).collect();
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json(&refused))).into_response()
}

/// The revision that a change is about; none for any.
fn revision_of(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(given) = headers.get(IF_MATCH) else {
        let what = "say which revision is to be changed: `If-Match: \"N\"` with the `revision` of GET policy, or \
                    `If-Match: *` for any";
        return Err(Problem(StatusCode::PRECONDITION_REQUIRED, what.to_owned()));
    };
    let given = given.to_str().unwrap_or_default().trim();
    if given == "*" {
        return Ok(None);
    }
    let number = given.trim_matches('"').parse().map_err(|_| {
        Problem::asked(format!(
            "If-Match: {given:?} is no revision such as \"7\", nor *"
        ))
    })?;
    Ok(Some(number))
}

/// The rules of a body, `{"rules": […]}`, and what is wrong with those that are none.
async fn read(body: Body) -> Result<(Vec<Rule>, Vec<RuleProblem>), Problem> {
    let bytes = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES)).await;
    let bytes = bytes.map_err(|_| {
        let what = "the rules did not come in time".to_owned();
        Problem(StatusCode::REQUEST_TIMEOUT, what)
    })?;
    let bytes = bytes.map_err(|_| {
        let what = format!("at most {MAX_BODY_BYTES} bytes of rules are taken");
        Problem(StatusCode::PAYLOAD_TOO_LARGE, what)
    })?;
    let said: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::asked(format!("this is no JSON: {error}")))?;
    let shape = || Problem::asked("the rules are sent as {\"rules\": […]}, and nothing else");
    let Value::Object(mut said) = said else {
        return Err(shape());
    };
    let Some(Value::Array(given)) = said.remove("rules").filter(|_| said.is_empty()) else {
        return Err(shape());
    };
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    // More would be refused anyhow, which is said once.
    for (place, given) in given.into_iter().take(MAX_RULES + 1).enumerate() {
        let id = given["id"].as_str().map(str::to_owned);
        match serde_json::from_value(given) {
            Ok(rule) => rules.push(rule),
            Err(error) => {
                let id = id.unwrap_or_else(|| format!("#{}", place + 1));
                problems.push(RuleProblem::new(id, "rule", error));
            }
        }
    }
    Ok((rules, problems))
}
