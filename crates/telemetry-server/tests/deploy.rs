//! The examples of docs/deploy.md are what they say they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use saphyr_parser::{Event, Parser};
use telemetry_server::config::Config;

/// The guide; absent in the package that is published.
fn guide() -> Option<String> {
    let path = root().join("docs/deploy.md");
    fs::read_to_string(path).ok()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The blocks of one language.
fn blocks(guide: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = guide.split(fence.as_str()).skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap_or_default().to_owned());
    blocks.collect()
}

/// What has a value: paths such as `spec.replicas`; entries of lists have no number.
fn leaves(yaml: &str) -> Result<Vec<(String, String)>, String> {
    #[derive(Debug)]
    enum Level {
        List,
        Table(Option<String>),
    }
    let mut levels: Vec<Level> = Vec::new();
    let mut found = Vec::new();
    for event in Parser::new_from_str(yaml) {
        let (event, _) = event.map_err(|error| error.to_string())?;
        let is_value = !matches!(levels.last(), Some(Level::Table(None)));
        match event {
            Event::MappingStart(..) => levels.push(Level::Table(None)),
            Event::SequenceStart(..) => levels.push(Level::List),
            Event::Scalar(text, ..) if !is_value => {
                if let Some(Level::Table(key)) = levels.last_mut() {
                    *key = Some(text.into_owned());
                }
                continue;
            }
            Event::Scalar(text, ..) => {
                let path: Vec<&str> = levels
                    .iter()
                    .filter_map(|level| match level {
                        Level::Table(key) => key.as_deref(),
                        Level::List => None,
                    })
                    .collect();
                found.push((path.join("."), text.into_owned()));
                close(&mut levels);
            }
            Event::MappingEnd | Event::SequenceEnd => {
                levels.pop();
                close(&mut levels);
            }
            _ => {}
        }
    }
    return Ok(found);

    /// A value is complete: the next one of the table has a key of its own.
    fn close(levels: &mut [Level]) {
        if let Some(Level::Table(key)) = levels.last_mut() {
            *key = None;
        }
    }
}

#[test]
fn manifests_are_of_the_kinds_that_they_name_and_fit_each_other() {
    let Some(guide) = guide() else { return };
    let mut kinds = BTreeMap::new();
    for block in blocks(&guide, "yaml") {
        for manifest in block.split("\n---\n") {
            let leaves = leaves(manifest).unwrap_or_else(|error| panic!("{error}:\n{manifest}"));
            let all = |path: &str| -> Vec<&str> {
                let same = leaves.iter().filter(|(at, _)| at == path);
                same.map(|(_, value)| value.as_str()).collect()
            };
            let one = |path: &str| match all(path)[..] {
                [value] => value,
                ref other => panic!("{path}: {other:?}\n{manifest}"),
            };
            let kind = one("kind").to_owned();
            let version = match kind.as_str() {
                "ConfigMap" | "Service" => "v1",
                "Deployment" | "DaemonSet" => "apps/v1",
                other => panic!("{other} is no kind of the guide"),
            };
            assert_eq!(one("apiVersion"), version, "{kind}");
            assert!(!one("metadata.name").is_empty());
            if version == "apps/v1" {
                let selected = one("spec.selector.matchLabels.app");
                assert_eq!(one("spec.template.metadata.labels.app"), selected);
                // Every mount has its volume.
                let volumes = all("spec.template.spec.volumes.name");
                for mount in all("spec.template.spec.containers.volumeMounts.name") {
                    assert!(volumes.contains(&mount), "{kind}: no volume {mount}");
                }
            }
            if kind == "ConfigMap" {
                let config = Config::parse(one("data.telemetry.toml"), "telemetry.toml");
                let config = config.unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(config.accept.expect("it is on").ports.len(), 1);
            }
            *kinds.entry(kind).or_insert(0) += 1;
        }
    }
    let expected = [
        ("ConfigMap", 1),
        ("DaemonSet", 1),
        ("Deployment", 2),
        ("Service", 1),
    ];
    let found: Vec<_> = kinds
        .iter()
        .map(|(kind, count)| (kind.as_str(), *count))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn configurations_are_accepted() {
    let Some(guide) = guide() else { return };
    let configurations = blocks(&guide, "toml");
    assert!(!configurations.is_empty());
    for text in configurations {
        Config::parse(&text, "telemetry.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped part of a test is said")]
fn the_unit_is_accepted_and_has_what_the_guide_says() {
    let Some(guide) = guide() else { return };
    let unit = root().join("packaging/telemetry.service");
    let text = fs::read_to_string(&unit).expect("the unit");
    for line in blocks(&guide, "ini")[0].lines() {
        assert!(
            text.lines().any(|it| it == line),
            "{line:?} is not in the unit"
        );
    }
    let verify = Command::new("systemd-analyze").arg("--version").output();
    if !verify.is_ok_and(|said| said.status.success()) {
        eprintln!("skipped: systemd-analyze is not installed");
        return;
    }
    // It looks whether the program is there, which is installed elsewhere.
    let dir = tempfile::tempdir().expect("a directory");
    let copy = dir.path().join("telemetry.service");
    let here = text.replace(
        "/usr/bin/telemetry ",
        &format!("{} ", env!("CARGO_BIN_EXE_telemetry")),
    );
    fs::write(&copy, here).expect("a file");
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg("--man=no")
        .arg(&copy)
        .output();
    let verified = verified.expect("it runs");
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success(), "{said}");
}
