//! A release that nobody sees: the published crates, packed, in a folder that cargo takes for a registry.
//!
//! Beside them lies all that they need, from what cargo has downloaded, in the versions of `Cargo.lock`.
//! A project that names the folder in place of the public registry builds from it without any network.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{failure::Failure, metadata};

use super::{
    contents,
    export::Export,
    index,
    packages::{self, Package},
};

/// In the folder, so that only a folder of ours is ever emptied.
const MARK: &str = "rehearsal";

/// Fills the folder `into` from the workspace in `root`; returns what of ours is in it.
pub(crate) fn run(root: &Path, into: &Path) -> Result<Vec<Package>, Failure> {
    let published = packages::published(root)?;
    let export = Export::of_work_tree(root, &published)?;
    let locked = metadata::locked(export.directory())?;
    let lock = export.directory().join("Cargo.lock");
    let lock = fs::read_to_string(&lock).map_err(Failure::file("read", &lock))?;
    let checksums = checksums(&lock);
    let own: BTreeSet<&str> = published.iter().map(|it| it.published.as_str()).collect();
    let needed = needed(&locked, &own);

    empty(into)?;
    contents::pack(&export, &published)?;
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    let mut bytes = 0;
    for package in metadata::list(&locked, "packages") {
        let (name, version) = (word(package, "name"), word(package, "version"));
        let own = published.iter().find(|it| it.published == name);
        let (archive, checksum) = match own {
            Some(own) => {
                let archive = export.packed(own);
                let content = fs::read(&archive).map_err(Failure::file("read", &archive))?;
                (archive, hexadecimal(&Sha256::digest(content)))
            }
            None if needed.contains(word(package, "id")) => {
                let Some(checksum) = checksums.get(&(name, version)) else {
                    return Err(Failure::Machine(format!(
                        "{name} {version} has no checksum in Cargo.lock: not from the public registry, so no \
                         registry can hold it"
                    )));
                };
                (downloaded(name, version)?, (*checksum).to_owned())
            }
            None => continue,
        };
        let copy = into.join(format!("{name}-{version}.crate"));
        bytes += fs::copy(&archive, &copy).map_err(Failure::file("write", &copy))?;
        let line = index::line(package, &checksum) + "\n";
        lines.entry(index::path(name)).or_default().push_str(&line);
    }
    for (path, text) in &lines {
        let path = into.join("index").join(path);
        let directory = path.parent().unwrap_or(into);
        fs::create_dir_all(directory).map_err(Failure::file("create", directory))?;
        fs::write(&path, text).map_err(Failure::file("write", &path))?;
    }
    for package in &published {
        println!("packed {} {}", package.published, package.version);
    }
    println!(
        "{} holds {} packages, {} MiB",
        into.display(),
        published.len() + needed.len(),
        bytes >> 20
    );
    Ok(published)
}

/// Makes `into` an empty folder with our mark; one with anything else in it is left alone.
fn empty(into: &Path) -> Result<(), Failure> {
    fs::create_dir_all(into).map_err(Failure::file("create", into))?;
    let mark = into.join(MARK);
    let mut entries = fs::read_dir(into).map_err(Failure::file("list", into))?;
    if entries.next().is_some() {
        if !mark.exists() {
            return Err(Failure::Machine(format!(
                "{} is neither empty nor an earlier rehearsal; name a folder that may be emptied",
                into.display()
            )));
        }
        fs::remove_dir_all(into).map_err(Failure::file("empty", into))?;
        fs::create_dir_all(into).map_err(Failure::file("create", into))?;
    }
    let told = "Written by `cargo xtask release rehearse`, which may empty this folder.\n";
    fs::write(&mark, told).map_err(Failure::file("write", &mark))
}

/// The ids of the packages from elsewhere that building `own` may need, on any platform.
fn needed<'a>(locked: &'a Value, own: &BTreeSet<&str>) -> BTreeSet<&'a str> {
    let nodes: BTreeMap<&str, &Value> = metadata::list(&locked["resolve"], "nodes")
        .map(|node| (word(node, "id"), node))
        .collect();
    let mut waiting: Vec<&str> = metadata::list(locked, "packages")
        .filter(|package| own.contains(word(package, "name")))
        .map(|package| word(package, "id"))
        .collect();
    let ours: BTreeSet<&str> = waiting.iter().copied().collect();
    let mut found = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        let node = nodes.get(id).copied().unwrap_or(&Value::Null);
        for dependency in metadata::list(node, "deps") {
            let is_built = metadata::list(dependency, "dep_kinds").any(|it| it["kind"] != "dev");
            let id = word(dependency, "pkg");
            if is_built && !ours.contains(id) && found.insert(id) {
                waiting.push(id);
            }
        }
    }
    found
}

/// The checksums in the text of a `Cargo.lock`, by name and version.
pub(crate) fn checksums(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let value = |block: &'_ str, key: &str| -> Option<(usize, usize)> {
        let start = block.find(&format!("\n{key} = \""))? + key.len() + 5;
        Some((start, start + block[start..].find('"')?))
    };
    lock.split("[[package]]")
        .filter_map(|block| {
            let text = |key| value(block, key).map(|(start, end)| &block[start..end]);
            Some(((text("name")?, text("version")?), text("checksum")?))
        })
        .collect()
}

/// Where cargo keeps what it downloads.
pub(crate) fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
        .unwrap_or_default()
}

/// The archive of a package as cargo downloaded it.
fn downloaded(name: &str, version: &str) -> Result<PathBuf, Failure> {
    let cache = cargo_home().join("registry/cache");
    let file = format!("{name}-{version}.crate");
    let registries = fs::read_dir(&cache).map_err(Failure::file("list", &cache))?;
    registries
        .flatten()
        .map(|registry| registry.path().join(&file))
        .find(|path| path.exists())
        .ok_or_else(|| {
            Failure::Machine(format!(
                "{file} is not among what cargo has downloaded; run `cargo fetch --locked`"
            ))
        })
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// `bytes` as a checksum is written.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn checksums_are_those_of_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"x\"\n\
                    checksum = \"abc\"\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
        let expected = BTreeMap::from([(("a", "1.0.0"), "abc")]);
        assert_eq!(checksums(lock), expected);
    }

    #[test]
    fn only_what_is_built_is_needed() {
        let node = |id: &str, deps: &[(&str, Option<&str>)]| {
            let deps: Vec<Value> = deps
                .iter()
                .map(|(id, kind)| json!({"pkg": id, "dep_kinds": [{"kind": kind}]}))
                .collect();
            json!({"id": id, "deps": deps})
        };
        let locked = json!({
            "packages": [{"name": "own", "id": "own"}, {"name": "tool", "id": "tool"}],
            "resolve": {"nodes": [
                node("own", &[("a", None), ("b", Some("build")), ("c", Some("dev"))]),
                node("a", &[("d", None)]),
                node("tool", &[("e", None)]),
            ]},
        });
        let found = needed(&locked, &BTreeSet::from(["own"]));
        assert_eq!(found, BTreeSet::from(["a", "b", "d"]));
    }

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        empty(folder.path()).unwrap();
        fs::write(folder.path().join("old.crate"), "").unwrap();
        empty(folder.path()).unwrap();
        assert!(!folder.path().join("old.crate").exists());

        fs::remove_file(folder.path().join(MARK)).unwrap();
        fs::write(folder.path().join("letters"), "").unwrap();
        let failure = empty(folder.path()).unwrap_err().to_string();
        assert!(
            failure.contains("neither empty nor an earlier rehearsal"),
            "{failure}"
        );
        assert!(folder.path().join("letters").exists());
    }

    #[test]
    fn bytes_are_written_as_a_checksum_is() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hexadecimal(&Sha256::digest([])), empty);
    }
}
