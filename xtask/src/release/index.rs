//! The index of a registry, as far as cargo reads it: one line of JSON for each version of a package.

use serde_json::{Value, json};

use crate::metadata;

/// The line of `package`, as `cargo metadata` describes it, whose archive has the hash `checksum`.
///
/// Dependencies that only the tests of a package need are there too: features may name them. Those of ours
/// without a version are not, as they are not in the packed manifest.
pub(crate) fn line(package: &Value, checksum: &str) -> String {
    let dependencies: Vec<Value> = metadata::list(package, "dependencies")
        .filter(|dependency| dependency["kind"] != "dev" || dependency["req"] != "*")
        .map(dependency)
        .collect();
    let line = json!({
        "name": package["name"],
        "vers": package["version"],
        "deps": dependencies,
        "cksum": checksum,
        // All of them here, where the newer syntax (`dep:`, `?/`) is allowed.
        "features": {},
        "features2": package["features"],
        "yanked": false,
        "links": package["links"],
        "rust_version": package["rust_version"],
        "v": 2,
    });
    line.to_string()
}

/// The file of a package below the folder `index`.
pub(crate) fn path(name: &str) -> String {
    let name = name.to_lowercase();
    match name.len() {
        1 | 2 => format!("{}/{name}", name.len()),
        3 => format!("3/{}/{name}", &name[..1]),
        _ => format!("{}/{}/{name}", &name[..2], &name[2..4]),
    }
}

fn dependency(dependency: &Value) -> Value {
    let (name, package) = match &dependency["rename"] {
        Value::Null => (&dependency["name"], &Value::Null),
        rename => (rename, &dependency["name"]),
    };
    let kind = match &dependency["kind"] {
        Value::Null => json!("normal"),
        kind => kind.clone(),
    };
    json!({
        "name": name,
        "package": package,
        "req": dependency["req"],
        "features": dependency["features"],
        "optional": dependency["optional"],
        "default_features": dependency["uses_default_features"],
        "target": dependency["target"],
        "kind": kind,
        "registry": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_where_cargo_looks_for_it() {
        for (name, expected) in [
            ("a", "1/a"),
            ("io", "2/io"),
            ("syn", "3/s/syn"),
            ("h2", "2/h2"),
            ("http", "ht/tp/http"),
            ("telemetry-core", "te/le/telemetry-core"),
            ("Inflector", "in/fl/inflector"),
        ] {
            assert_eq!(path(name), expected);
        }
    }

    #[test]
    fn a_line_says_what_cargo_resolves_by() {
        let package = json!({
            "name": "low", "version": "0.1.0", "links": null, "rust_version": "1.88",
            "features": {"tls": ["dep:ring"]},
            "dependencies": [
                {"name": "ring", "rename": null, "req": "^1.2", "kind": null, "optional": true,
                 "uses_default_features": false, "features": ["std"], "target": "cfg(unix)"},
                {"name": "old", "rename": "older", "req": "^0.3", "kind": "build", "optional": false,
                 "uses_default_features": true, "features": [], "target": null},
                {"name": "proptest", "rename": null, "req": "^1", "kind": "dev", "optional": false,
                 "uses_default_features": true, "features": [], "target": null},
                {"name": "rig", "rename": null, "req": "*", "kind": "dev", "optional": false,
                 "uses_default_features": true, "features": [], "target": null},
            ],
        });
        let line: Value = serde_json::from_str(&line(&package, "abc")).unwrap();
        assert_eq!(line["vers"], "0.1.0");
        assert_eq!(line["cksum"], "abc");
        assert_eq!(line["features2"]["tls"][0], "dep:ring");
        assert_eq!(line["deps"].as_array().unwrap().len(), 3);
        let ring = &line["deps"][0];
        assert_eq!(
            (&ring["name"], &ring["kind"]),
            (&json!("ring"), &json!("normal"))
        );
        assert_eq!(ring["default_features"], false);
        assert_eq!(ring["target"], "cfg(unix)");
        let older = &line["deps"][1];
        assert_eq!(
            (&older["name"], &older["package"]),
            (&json!("older"), &json!("old"))
        );
        assert_eq!(older["kind"], "build");
        assert_eq!(line["deps"][2]["kind"], "dev");
    }
}
