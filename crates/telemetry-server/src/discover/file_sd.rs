//! A list of targets as Prometheus reads it from files: JSON or YAML, `[{targets: [...], labels: {...}}]`.
//!
//! Text in, targets out. Of the labels, `worker` (or `__worker__`, `worker_id`) is the id of the one target of its
//! entry, or the first part of the ids of several; `pool` (or `__pool__`) is their pool, `__tls_server_name__` the name that must be in
//! their certificates. Others are nobody's here.

use std::collections::BTreeMap;

use serde::Deserialize;
use telemetry_core::Address;

use super::Answer;
use super::naming::{place, target};
use super::yaml;

/// What is allowed, for errors.
const ALLOWED: &str = "it must be a list of {targets: [\"host:port\"], labels: {name: \"text\"}}";
/// Labels that say who a worker is, those before others.
const WORKER_LABELS: [&str; 3] = ["__worker__", "worker", "worker_id"];
/// The label that says which name must be in its certificate.
const NAME_LABELS: [&str; 1] = ["__tls_server_name__"];
/// Labels that say which pool it is in.
const POOL_LABELS: [&str; 2] = ["__pool__", "pool"];

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
}

/// An entry of a list.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Group {
    #[serde(default)]
    pub(super) targets: Vec<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
}

/// Why a text is no list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListFault {
    /// From 1, where it is known.
    pub(super) line: Option<usize>,
    pub(super) problem: String,
}

/// What a text lists. `file`: what errors call it; `pool`: of who has no other on the list.
pub(super) fn read(text: &str, format: Format, file: &str, pool: Option<&str>) -> Answer {
    let groups = match format {
        Format::Json => json(text),
        Format::Yaml => yaml::groups(text),
    };
    match groups {
        Ok(groups) => listed(groups, pool),
        Err(ListFault { line, problem }) => {
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            Answer::Fault(format!("{file}{line}: {problem}; {ALLOWED}"))
        }
    }
}

fn json(text: &str) -> Result<Vec<Group>, ListFault> {
    serde_json::from_str(text).map_err(|error| ListFault {
        line: (error.line() > 0).then(|| error.line()),
        problem: error.to_string(),
    })
}

/// The targets of all entries.
fn listed(groups: Vec<Group>, pool: Option<&str>) -> Answer {
    let (mut targets, mut faults) = (Vec::new(), Vec::new());
    for group in groups {
        let label = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| group.labels.get(*name));
            values.find(|value| !value.is_empty())
        };
        let (worker, is_one) = (label(&WORKER_LABELS), group.targets.len() == 1);
        let pool = label(&POOL_LABELS).map(String::as_str).or(pool);
        for text in &group.targets {
            match text.parse::<Address>() {
                Ok(address) => {
                    let id = worker.map(|worker| match is_one {
                        true => worker.clone(),
                        false => format!("{worker}-{}", place(&address)),
                    });
                    let mut target = target(address, id, pool);
                    target.server_name = label(&NAME_LABELS).cloned();
                    targets.push(target);
                }
                Err(error) => faults.push(error.to_string()),
            }
        }
    }
    Answer::Listed(targets, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"[
      {"targets": ["127.0.0.1:1"], "labels": {"worker": "one", "pool": "own", "job": "x"}},
      {"targets": ["127.0.0.1:2", "unix:/run/three.sock"], "labels": {"__worker__": "many", "__tls_server_name__": "m.example"}},
      {"targets": ["localhost:4", "nonsense"]}
    ]"#;
    const YAML: &str = r#"
# A comment.
- targets: ["127.0.0.1:1"]
  labels: {worker: one, pool: "own", job: x}
- targets:
    - 127.0.0.1:2
    - unix:/run/three.sock
  unknown: [{a: [1, 2]}, b]
  labels:
    __worker__: many
    __tls_server_name__: m.example
- targets: ['localhost:4', nonsense]
"#;

    /// Id, address and pool of each, as one text.
    fn workers(answer: Answer) -> Vec<String> {
        let Answer::Listed(targets, faults) = answer else {
            panic!("{answer:?}");
        };
        assert!(
            faults.iter().all(|it| it.contains("\"nonsense\"")),
            "{faults:?}"
        );
        let shown = |it: crate::targets::Target| {
            let pool = it.pool.unwrap_or_default();
            let name = it.server_name.unwrap_or_default();
            format!("{} {} {pool} {name}", it.worker.as_str(), it.address)
        };
        targets.into_iter().map(shown).collect()
    }

    #[test]
    fn a_list_of_prometheus_is_read_as_it_is() {
        let expected = [
            "one 127.0.0.1:1 own ",
            "many-127.0.0.1-2 127.0.0.1:2 web m.example",
            "many-three unix:/run/three.sock web m.example",
            "web-127.0.0.1-4 127.0.0.1:4 web ",
        ];
        let pool = Some("web");
        assert_eq!(workers(read(JSON, Format::Json, "f", pool)), expected);
        assert_eq!(workers(read(YAML, Format::Yaml, "f", pool)), expected);
        // All that is JSON and no odd escape is YAML.
        assert_eq!(workers(read(JSON, Format::Yaml, "f", pool)), expected);
    }

    #[test]
    fn an_empty_list_is_empty() {
        for (text, format) in [
            ("[]", Format::Json),
            ("[]", Format::Yaml),
            ("", Format::Yaml),
            ("# nothing\n", Format::Yaml),
            ("---\n", Format::Yaml),
            ("- targets: []\n", Format::Yaml),
        ] {
            let answer = read(text, format, "f", None);
            assert_eq!(answer, Answer::Listed(Vec::new(), Vec::new()), "{text:?}");
        }
    }

    #[test]
    fn a_fault_names_file_and_line_and_what_is_allowed() {
        let laughs = "- &a x\n- *a\n";
        for (text, format, place) in [
            ("{}", Format::Json, "list.x:1: "),
            ("[\n  {\"targets\": 7}\n]", Format::Json, "list.x:2: "),
            ("", Format::Json, "list.x:1: "),
            (
                "[{\"targets\": [\"a\"], \"labels\": {\"a\": 1}}]",
                Format::Json,
                "list.x:1: ",
            ),
            (
                "a: b\n",
                Format::Yaml,
                "list.x:1: it does not begin with a list",
            ),
            ("- targets: []\n- 7\n", Format::Yaml, "list.x:2: "),
            (
                "- targets:\n    a: b\n",
                Format::Yaml,
                "list.x:2: targets is no list",
            ),
            (
                "- targets: [[]]\n",
                Format::Yaml,
                "list.x:1: a target is no text",
            ),
            (
                "- labels:\n    a: []\n",
                Format::Yaml,
                "list.x:2: the label \"a\"",
            ),
            ("- targets: [\n", Format::Yaml, "list.x:"),
            (
                "[]\n---\n[]\n",
                Format::Yaml,
                "list.x:2: there is a second document",
            ),
            (laughs, Format::Yaml, "list.x:1: an entry of the list is no"),
            (
                "- targets: &a [x]\n- targets: *a\n",
                Format::Yaml,
                "list.x:2: aliases are not read",
            ),
        ] {
            let Answer::Fault(fault) = read(text, format, "list.x", None) else {
                panic!("{text:?} is a list");
            };
            assert!(fault.starts_with(place), "{text:?}: {fault}");
            assert!(fault.ends_with(ALLOWED), "{fault}");
        }
    }
}
