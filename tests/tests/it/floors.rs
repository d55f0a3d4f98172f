//! The order of the floors in each crate: written once, in the manual of its root, and true.
//!
//! A root says under `# Floors` which modules stand on which floor; a module uses only modules of
//! floors below its own. A floor `in a circle` is one that is still to be put in order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The roots of all crates, from the top of the workspace.
const ROOTS: [&str; 10] = [
    "crates/telemetry-proto/src/lib.rs",
    "crates/telemetry-core/src/lib.rs",
    "crates/telemetry-client/src/lib.rs",
    "crates/telemetry-server/src/lib.rs",
    "crates/telemetry-py/src/lib.rs",
    "benches/src/main.rs",
    "models/src/lib.rs",
    "simulation/src/lib.rs",
    "tests/src/lib.rs",
    "xtask/src/main.rs",
];

/// Circles that are left, and the most modules that may be in one; they may only get fewer.
const CIRCLES: [(&str, usize); 1] = [("benches/src/main.rs", 2)];

/// One floor.
#[derive(Debug, Default)]
struct Floor {
    modules: Vec<String>,
    is_circle: bool,
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The floors that the manual of a root names.
fn floors(root: &str) -> Vec<Floor> {
    let manual = root
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .skip_while(|line| line.trim() != "# Floors");
    let mut floors: Vec<Floor> = Vec::new();
    for line in manual {
        let line = line.trim();
        if line.starts_with(|first: char| first.is_ascii_digit()) {
            floors.push(Floor {
                is_circle: line.contains("in a circle"),
                ..Floor::default()
            });
        }
        if let Some(floor) = floors.last_mut() {
            let quoted = line.split('`').skip(1).step_by(2);
            floor.modules.extend(quoted.map(str::to_owned));
        }
    }
    floors
}

/// The modules that a root declares, without tests.
fn modules(root: &str) -> Vec<String> {
    root.lines()
        .filter_map(|line| {
            let line = line.strip_prefix("pub ").unwrap_or(line);
            line.strip_prefix("mod ")?.strip_suffix(';')
        })
        .filter(|name| *name != "tests")
        .map(str::to_owned)
        .collect()
}

/// The code of a module and of all below it, without comments and tests.
fn code(directory: &Path, module: &str) -> String {
    let mut files = vec![directory.join(format!("{module}.rs"))];
    let mut directories = vec![directory.join(module)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(path);
            }
        }
    }
    let is_test = |path: &PathBuf| {
        path.iter()
            .any(|part| part == "tests" || part == "tests.rs")
    };
    let mut code = String::new();
    for file in files.into_iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(file).unwrap_or_default();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for line in text.lines() {
            code.push_str(line.split("//").next().unwrap_or_default());
            code.push(' ');
        }
    }
    code
}

/// The modules that `code` names behind `crate::`, alone or in a group.
fn used(code: &str) -> Vec<String> {
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut used = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => used.push(word(rest)),
            Some(group) => {
                let group = group.split(';').next().unwrap_or_default();
                used.extend(group.split([',', '{']).map(|part| word(part.trim())));
            }
        }
    }
    used
}

#[test]
fn every_module_uses_only_floors_below_its_own() {
    let mut wrong = Vec::new();
    for place in ROOTS {
        let path = top().join(place);
        let root = fs::read_to_string(&path).expect("a root");
        let (floors, modules) = (floors(&root), modules(&root));
        assert!(!floors.is_empty(), "{place} does not say its floors");
        let level: BTreeMap<&str, usize> = floors
            .iter()
            .enumerate()
            .flat_map(|(level, floor)| floor.modules.iter().map(move |it| (it.as_str(), level)))
            .collect();
        let told: usize = floors.iter().map(|floor| floor.modules.len()).sum();
        assert_eq!(told, level.len(), "{place} names a module twice");
        let directory = path.parent().expect("it is in a directory");
        for module in &modules {
            let Some(&floor) = level.get(module.as_str()) else {
                wrong.push(format!("{place}: {module} stands on no floor"));
                continue;
            };
            for other in used(&code(directory, module)) {
                let Some(&below) = level.get(other.as_str()) else {
                    continue;
                };
                let is_fine = below < floor
                    || other == *module
                    || (below == floor && floors[floor].is_circle);
                if !is_fine {
                    wrong.push(format!(
                        "{place}: {module} uses {other}, which is not below it"
                    ));
                }
            }
        }
        for name in level
            .keys()
            .filter(|name| !modules.iter().any(|it| it == *name))
        {
            wrong.push(format!("{place}: {name} is no module"));
        }
        for circle in floors.iter().filter(|floor| floor.is_circle) {
            let most = CIRCLES.iter().find(|(known, _)| *known == place);
            let most = most.map_or(0, |(_, most)| *most);
            if circle.modules.len() > most {
                wrong.push(format!("{place}: a circle of {:?}", circle.modules));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_use_upwards_would_be_seen() {
    let manual = "//! x\n//!\n//! # Floors\n//!\n//! 1. `a`, `b`\n//! 2. in a circle: `c`,\n//!    `d`\n\nmod a;";
    let floors = floors(manual);
    assert_eq!((floors.len(), floors[1].modules.len()), (2, 2));
    assert!(floors[1].is_circle && !floors[0].is_circle);
    let used = used("use crate::d; use crate::{a, b::{self, X}, c::Y}; crate::e::f();");
    for name in ["a", "b", "c", "d", "e"] {
        assert!(used.iter().any(|it| it == name), "{name} in {used:?}");
    }
}
