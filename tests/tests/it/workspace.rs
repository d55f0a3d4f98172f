//! The shape of the workspace: who may depend on whom, and what every crate and file must have.
//!
//! Each rule is a function over data, tried on a bad example as well as on the real workspace.
//! Reads manifests, sources and what cargo says about them; builds nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use cargo_metadata::{Metadata, MetadataCommand};

/// Our own crates by name, each with those of our own that it names as a dependency of any kind.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Crates of ours that must not be reached: from whom, and why not.
const DIRECTION: &[(&str, &[&str], &str)] = &[
    (
        "telemetry-proto",
        &[
            "telemetry-core",
            "telemetry-tls",
            "telemetry-client",
            "telemetry-server",
            "telemetry-py",
        ],
        "the wire stands below everything",
    ),
    (
        "telemetry-core",
        &[
            "telemetry-tls",
            "telemetry-client",
            "telemetry-server",
            "telemetry-py",
        ],
        "the core knows no role",
    ),
    (
        "telemetry-tls",
        &[
            "telemetry-proto",
            "telemetry-core",
            "telemetry-client",
            "telemetry-server",
            "telemetry-py",
        ],
        "TLS knows no telemetry",
    ),
    (
        "telemetry-client",
        &["telemetry-server", "telemetry-py"],
        "a worker carries no manager",
    ),
    (
        "telemetry-server",
        &["telemetry-client", "telemetry-py"],
        "a manager carries no worker",
    ),
    (
        "telemetry-py",
        &["telemetry-server"],
        "the Python package is a worker",
    ),
    (
        "xtask-start",
        &["xtask", "telemetry-core"],
        "it says that xtask is compiled, so it is compiled before",
    ),
    (
        "xtask",
        &["telemetry-client", "telemetry-server", "telemetry-py"],
        "the tool must be quick to compile",
    ),
    (
        "telemetry-models",
        &[
            "telemetry-proto",
            "telemetry-core",
            "telemetry-client",
            "telemetry-server",
            "telemetry-py",
        ],
        "a model stands beside the code",
    ),
    (
        "telemetry-simulation",
        &["telemetry-py"],
        "nothing depends on the Python skin",
    ),
    (
        "telemetry-tests",
        &["telemetry-py"],
        "nothing depends on the Python skin",
    ),
];

/// Crates from elsewhere that must not be compiled for one of ours (without optional features).
const LIGHT: &[(&str, &[&str])] = &[
    (
        "telemetry-proto",
        &["tokio", "tonic", "hyper", "h2", "pyo3"],
    ),
    ("telemetry-core", &["tokio", "tonic", "hyper", "h2", "pyo3"]),
    ("xtask", &["tokio", "tonic", "hyper", "h2", "pyo3"]),
];

#[test]
fn dependencies_point_one_way() {
    assert_eq!(wrong_directions(&own_graph(&metadata())), [""; 0]);
}

#[test]
fn every_crate_of_ours_has_a_place_in_the_direction() {
    for name in own_graph(&metadata()).keys() {
        assert!(
            DIRECTION.iter().any(|(from, ..)| from == name) || name.ends_with("benches"),
            "{name} has no rule about what it may depend on"
        );
    }
}

#[test]
fn a_role_that_reaches_the_other_through_a_third_crate_is_found() {
    let graph = graph(&[
        ("telemetry-client", &["glue"]),
        ("glue", &["telemetry-server"]),
        ("telemetry-server", &[]),
    ]);
    assert_eq!(
        wrong_directions(&graph),
        ["telemetry-client reaches telemetry-server: a worker carries no manager"]
    );
}

#[test]
fn a_dependency_on_the_python_skin_is_found() {
    let graph = graph(&[
        ("telemetry-proto", &["telemetry-py"]),
        ("telemetry-py", &[]),
    ]);
    assert_eq!(
        wrong_directions(&graph),
        ["telemetry-proto reaches telemetry-py: the wire stands below everything"]
    );
}

#[test]
fn light_crates_compile_no_runtime_and_no_transport() {
    for (package, forbidden) in LIGHT {
        let compiled = compiled_for(package);
        assert!(
            compiled.contains(*package),
            "cargo tree lists {package} itself"
        );
        assert_eq!(
            heavy(&compiled, forbidden),
            [""; 0],
            "compiled for {package}"
        );
    }
}

#[test]
fn a_runtime_among_the_compiled_crates_is_found() {
    let compiled = BTreeSet::from(["bytes", "tokio", "tokio-util"].map(str::to_owned));
    assert_eq!(heavy(&compiled, &["tokio", "tonic"]), ["tokio"]);
    // The way to the list is sound too: the manager does compile a runtime.
    assert_eq!(
        heavy(&compiled_for("telemetry-server"), &["tokio"]),
        ["tokio"]
    );
}

#[test]
fn every_crate_has_its_own_version_and_the_lints_of_the_workspace() {
    for directory in crate_directories() {
        let manifest = read(&directory.join("Cargo.toml"));
        assert_eq!(
            manifest_faults(&manifest),
            [""; 0],
            "in {}",
            directory.display()
        );
    }
}

#[test]
fn a_manifest_with_a_shared_version_or_lints_of_its_own_is_found() {
    let good = "[package]\nversion = \"0.1.0\"\n\n[lints]\nworkspace = true\n";
    assert_eq!(manifest_faults(good), [""; 0]);
    let shared = "[package]\nversion.workspace = true\n\n[lints]\nworkspace = true\n";
    assert_eq!(manifest_faults(shared), ["no version of its own"]);
    let lints = "[package]\nversion = \"0.1.0\"\n\n[lints.rust]\nmissing_docs = \"allow\"\n";
    assert_eq!(
        manifest_faults(lints),
        ["does not inherit the lints of the workspace"]
    );
    // A dependency's version is not the package's.
    let elsewhere = "[lints]\nworkspace = true\n\n[dependencies.x]\nversion = \"1\"\n";
    assert_eq!(manifest_faults(elsewhere), ["no version of its own"]);
}

#[test]
fn every_source_file_opens_with_its_purpose_and_none_is_called_mod() {
    let mut files = Vec::new();
    for directory in ["crates", "models", "xtask", "tests"] {
        rust_files(&root().join(directory), &mut files);
    }
    assert!(
        files.len() > 20,
        "the search found next to nothing: {files:?}"
    );
    let faults: Vec<String> = files
        .iter()
        .filter_map(|file| source_fault(file, &read(file)))
        .collect();
    assert_eq!(faults, [""; 0]);
}

#[test]
fn a_file_without_purpose_or_called_mod_is_found() {
    let fault = |path: &str, text: &str| source_fault(Path::new(path), text);
    assert_eq!(fault("src/queue.rs", "//! A bounded queue.\n"), None);
    assert_eq!(
        fault("src/queue.rs", "// A bounded queue.\n").as_deref(),
        Some("src/queue.rs does not open with //!")
    );
    assert_eq!(
        fault("src/queue.rs", "").as_deref(),
        Some("src/queue.rs does not open with //!")
    );
    assert_eq!(
        fault("src/queue/mod.rs", "//! A bounded queue.\n").as_deref(),
        Some("src/queue/mod.rs should be src/queue.rs")
    );
}

/// One sentence for each pair of our crates that breaks [`DIRECTION`].
fn wrong_directions(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for (from, forbidden, why) in DIRECTION {
        let reached = reachable(graph, from);
        for to in *forbidden {
            if reached.contains(*to) {
                found.push(format!("{from} reaches {to}: {why}"));
            }
        }
    }
    found
}

/// Every crate that `from` depends on, directly or not; `from` itself is not among them.
fn reachable<'a>(graph: &'a Graph, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&str> = graph
        .get(from)
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    while let Some(name) = waiting.pop() {
        if reached.insert(name) {
            waiting.extend(graph.get(name).into_iter().flatten().map(String::as_str));
        }
    }
    reached
}

/// Those of `forbidden` that are compiled, in the order of `forbidden`.
fn heavy<'a>(compiled: &BTreeSet<String>, forbidden: &[&'a str]) -> Vec<&'a str> {
    forbidden
        .iter()
        .copied()
        .filter(|name| compiled.contains(*name))
        .collect()
}

/// What is wrong with a manifest, given as text.
fn manifest_faults(manifest: &str) -> Vec<&'static str> {
    let has = |section: &str, wanted: &str| {
        manifest
            .split("\n[")
            .map(|text| text.trim_start_matches('['))
            .filter(|text| text.starts_with(&format!("{section}]")))
            .any(|text| text.lines().any(|line| line.starts_with(wanted)))
    };
    let mut faults = Vec::new();
    if !has("package", "version = \"") {
        faults.push("no version of its own");
    }
    if !has("lints", "workspace = true") {
        faults.push("does not inherit the lints of the workspace");
    }
    faults
}

/// What is wrong with a source file, if anything.
fn source_fault(path: &Path, text: &str) -> Option<String> {
    if path.ends_with("mod.rs") {
        let module = path.parent().unwrap_or(path).with_extension("rs");
        return Some(format!("{} should be {}", path.display(), module.display()));
    }
    (!text.starts_with("//!")).then(|| format!("{} does not open with //!", path.display()))
}

fn graph(edges: &[(&str, &[&str])]) -> Graph {
    edges
        .iter()
        .map(|(from, to)| {
            (
                (*from).to_owned(),
                to.iter().map(|to| (*to).to_owned()).collect(),
            )
        })
        .collect()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo describes the workspace")
}

/// The declared dependencies between members: all kinds, all features, all platforms.
fn own_graph(metadata: &Metadata) -> Graph {
    let members: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    metadata
        .packages
        .iter()
        .map(|package| {
            let dependencies = package
                .dependencies
                .iter()
                .map(|dependency| &dependency.name);
            let own = dependencies
                .filter(|name| members.contains(name.as_str()))
                .cloned();
            (package.name.to_string(), own.collect())
        })
        .collect()
}

/// Names of the crates that building `package` alone compiles, for this platform.
///
/// `cargo tree` and not `cargo metadata`, which resolves features for the workspace as one: there
/// the stubs that only the tests switch on would seem to be part of the core.
fn compiled_for(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--package", package, "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// Every Rust file below `directory`, generated ones left out.
fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of the workspace lists") {
        let path = entry.expect("an entry of the workspace reads").path();
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default();
            if name != "generated" && name != "target" {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The directory of each crate in `crates/`.
fn crate_directories() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("crates")).expect("crates/ lists");
    let mut directories: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry of crates/ reads").path())
        .filter(|path| path.join("Cargo.toml").exists())
        .collect();
    directories.sort();
    assert!(directories.len() >= 5, "{directories:?}");
    directories
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{} reads: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace")
}
