//! What is in something compiled: a CycloneDX 1.5 document, from what cargo says.
//!
//! In it is what is linked: packages that run at build time only (build scripts, macros) and those of tests are
//! not. It has no serial number, which would be another one each time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::{Value, json};

use crate::{failure::Failure, metadata, process};

use crate::release::{date, rehearse};

use super::facts::Facts;

/// What was compiled.
#[derive(Debug)]
pub(crate) struct Selection {
    /// The package.
    pub(crate) package: &'static str,
    /// Its features, beside the default ones; may be empty.
    pub(crate) features: &'static str,
    /// The target.
    pub(crate) target: &'static str,
}

/// A package by name and version.
type Id = (String, String);

/// Which packages are linked, and which of them each needs. The first is what was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Graph {
    root: Id,
    needs: BTreeMap<Id, BTreeSet<Id>>,
}

/// The document of what `selection` compiles to, which is called `name` and is of a `kind` of the format.
pub(crate) fn text(
    facts: &Facts,
    selection: &Selection,
    name: &str,
    kind: &str,
) -> Result<String, Failure> {
    let lock = facts.root.join("Cargo.lock");
    let lock = fs::read_to_string(&lock).map_err(Failure::file("read", &lock))?;
    let document = document(
        &graph(selection)?,
        &metadata::locked(&facts.root)?,
        &rehearse::checksums(&lock),
        facts.epoch,
        (name, kind),
    );
    Ok(format!("{document:#}\n"))
}

fn graph(selection: &Selection) -> Result<Graph, Failure> {
    let mut cargo = process::cargo();
    cargo
        .args(["tree", "--locked", "--package", selection.package])
        .args(["--target", selection.target])
        .args(["--edges", "normal,no-proc-macro"])
        .args(["--prefix", "depth", "--format", "{p}"]);
    if !selection.features.is_empty() {
        cargo.args(["--features", selection.features]);
    }
    let said = process::output(&mut cargo)?;
    let said = String::from_utf8_lossy(&said);
    read(&said).ok_or_else(|| {
        Failure::Machine(format!(
            "`cargo tree` did not print what it used to: {said}"
        ))
    })
}

/// Reads lines of depth, name and version: `2bytes v1.12.1`. What stood before has no lines below it.
fn read(said: &str) -> Option<Graph> {
    let mut graph = Graph::default();
    let mut above: Vec<Id> = Vec::new();
    for line in said.lines().filter(|line| !line.is_empty()) {
        let name = line.find(|c: char| !c.is_ascii_digit())?;
        let depth: usize = line[..name].parse().ok()?;
        let mut words = line[name..].split(' ');
        let id = (
            words.next()?.to_owned(),
            words.next()?.strip_prefix('v')?.to_owned(),
        );
        above.truncate(depth);
        match above.last() {
            Some(parent) => {
                let needs = graph.needs.entry(parent.clone()).or_default();
                needs.insert(id.clone());
            }
            None => graph.root = id.clone(),
        }
        graph.needs.entry(id.clone()).or_default();
        above.push(id);
    }
    (!above.is_empty()).then_some(graph)
}

fn document(
    graph: &Graph,
    locked: &Value,
    checksums: &BTreeMap<(&str, &str), &str>,
    epoch: u64,
    (name, kind): (&str, &str),
) -> Value {
    let licences: BTreeMap<(&str, &str), &str> = metadata::list(locked, "packages")
        .filter_map(|package| {
            let word = |key: &str| package[key].as_str();
            Some(((word("name")?, word("version")?), word("license")?))
        })
        .collect();
    let component = |id: &Id, name: &str, kind: &str| {
        let (package, version) = (id.0.as_str(), id.1.as_str());
        let mut component = json!({
            "type": kind,
            "bom-ref": reference(id),
            "name": name,
            "version": version,
        });
        if let Some(licence) = licences.get(&(package, version)) {
            component["licenses"] = json!([{"expression": expression(licence)}]);
        }
        if let Some(checksum) = checksums.get(&(package, version)) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
            // Our own are in no registry, where the same name may be somebody else's.
            component["purl"] = Value::from(format!("pkg:cargo/{package}@{version}"));
        }
        component
    };
    let components: Vec<Value> = graph
        .needs
        .keys()
        .filter(|id| **id != graph.root)
        .map(|id| component(id, &id.0, "library"))
        .collect();
    let dependencies: Vec<Value> = graph
        .needs
        .iter()
        .map(|(id, needs)| {
            let needs: Vec<String> = needs.iter().map(reference).collect();
            json!({"ref": reference(id), "dependsOn": needs})
        })
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(epoch),
            "component": component(&graph.root, name, kind),
        },
        "components": components,
        "dependencies": dependencies,
    })
}

/// What a component is called within the document.
fn reference((name, version): &Id) -> String {
    format!("{name}@{version}")
}

/// A licence as SPDX writes it; old manifests have a stroke for "or".
fn expression(licence: &str) -> String {
    let parts: Vec<&str> = licence.split('/').map(str::trim).collect();
    parts.join(" OR ")
}

/// Seconds since 1970 as RFC 3339 writes them, in UTC.
fn timestamp(epoch: u64) -> String {
    let (day, second) = (date::of_day(epoch / 86_400), epoch % 86_400);
    format!(
        "{day}T{:02}:{:02}:{:02}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0server v0.1.0 (/somewhere)\n1bytes v1.2.3\n1core v0.1.0 (/somewhere)\n\
                        2bytes v1.2.3 (*)\n2h2 v0.4.1\n";

    fn id(name: &str, version: &str) -> Id {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn lines_become_a_graph() {
        let graph = read(TREE).unwrap();
        assert_eq!(graph.root, id("server", "0.1.0"));
        assert_eq!(graph.needs.len(), 4);
        let core = &graph.needs[&id("core", "0.1.0")];
        assert_eq!(
            *core,
            BTreeSet::from([id("bytes", "1.2.3"), id("h2", "0.4.1")])
        );
        assert_eq!(read(""), None);
        assert_eq!(read("error: no such package"), None);
    }

    #[test]
    fn every_component_has_its_licence_and_checksum() {
        let locked = json!({"packages": [
            {"name": "bytes", "version": "1.2.3", "license": "MIT/Apache-2.0"},
        ]});
        let checksums = BTreeMap::from([(("bytes", "1.2.3"), "abc")]);
        let found = document(
            &read(TREE).unwrap(),
            &locked,
            &checksums,
            0,
            ("command", "application"),
        );
        assert_eq!(found["metadata"]["component"]["name"], "command");
        assert_eq!(found["components"].as_array().unwrap().len(), 3);
        let bytes = &found["components"][0];
        assert_eq!(bytes["purl"], "pkg:cargo/bytes@1.2.3");
        assert_eq!(bytes["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bytes["hashes"][0]["content"], "abc");
        assert!(found["components"][1].get("purl").is_none());
        let references: Vec<&Value> = metadata::list(&found, "dependencies")
            .map(|it| &it["ref"])
            .collect();
        assert_eq!(references.len(), 4);
        assert!(found.get("serialNumber").is_none());
    }

    #[test]
    fn time_is_written_in_utc() {
        for (epoch, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_795_815_700, "2026-11-27T21:41:40Z"),
        ] {
            assert_eq!(timestamp(epoch), text);
        }
    }
}
