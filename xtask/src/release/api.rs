//! The public API of a crate as text: one item a line, with its whole signature, sorted.
//!
//! Made from what rustdoc says about the crate, so a text is that of one toolchain: another may write the
//! same type with another path. What decides what breaks a user, and a signature does not show, stands
//! behind it as a comment. Features that a user may choose have a line each, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{artifacts::Artifacts, failure::Failure};

use super::{packages::Package, rustdoc::Rustdoc};

/// The file in the directory of a package.
pub(crate) const FILE: &str = "public-api.txt";
/// The command that makes the files fresh.
pub(crate) const REMEDY: &str = "cargo xtask release api";

/// The format of rustdoc's JSON that is read here, which Rust 1.95 writes.
const FORMAT: u64 = 57;

/// Behind a struct whose fields are all public: a user may write it out, and a new field breaks that.
pub(crate) const WRITABLE: &str = " // all fields are public";
/// Behind a struct without fields: its name is a value, until it has one.
pub(crate) const UNIT: &str = " // unit";
/// Behind a function of a trait that has no body: a user who implements the trait must have it.
pub(crate) const REQUIRED: &str = " // required";

/// Traits that types have without a word, and that nobody asks for.
const UNASKED: [&str; 6] = [
    "core::marker::Freeze",
    "core::marker::StructuralPartialEq",
    "core::marker::Unpin",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];

/// Texts by the path of their file, from the root.
pub(crate) type Texts = BTreeMap<String, String>;

/// The texts of all `packages` of the workspace in `root`, from their sources.
pub(crate) fn generate(root: &Path, packages: &[Package]) -> Result<Texts, Failure> {
    let rustdoc = Rustdoc::ready(root)?;
    let mut texts = Texts::new();
    for package in packages {
        let mut text = text(&rustdoc.json(package)?)?;
        for feature in &package.features {
            text += &feature_line(feature);
        }
        texts.insert(package.path(FILE), text);
    }
    Ok(texts)
}

/// The texts of all `packages` as they lie in the work tree `root`; empty where there is none yet.
pub(crate) fn committed(root: &Path, packages: &[Package]) -> Result<Texts, Failure> {
    let mut texts = Texts::new();
    for package in packages {
        let file = package.path(FILE);
        let path = root.join(&file);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::file("read", &path)(error)),
        };
        texts.insert(file, text);
    }
    Ok(texts)
}

/// The text of `package` among `texts`; empty for one that has none, as a Python package.
pub(crate) fn of<'a>(texts: &'a Texts, package: &Package) -> &'a str {
    texts.get(&package.path(FILE)).map_or("", String::as_str)
}

/// The files that hold `texts`.
pub(crate) fn files(texts: &Texts) -> Artifacts {
    let mut artifacts = Artifacts::default();
    for (path, text) in texts {
        artifacts.insert(path, text.as_bytes());
    }
    artifacts
}

/// The text of the crate that `json` describes.
fn text(json: &Path) -> Result<String, Failure> {
    let refused = |reason: String| Failure::Generator {
        path: json.to_owned(),
        reason,
    };
    let bytes = fs::read(json).map_err(Failure::file("read", json))?;
    let described: Value =
        serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
    if described["format_version"] != FORMAT {
        return Err(refused(format!(
            "rustdoc writes format {}, and format {FORMAT} is read: Rust 1.95 writes it, or `public-api` in \
             the root manifest must move",
            described["format_version"]
        )));
    }
    let api = public_api::Builder::from_rustdoc_json(PathBuf::from(json))
        .omit_blanket_impls(true)
        .build()
        .map_err(|error| refused(error.to_string()))?;
    let index = &described["index"];
    let mut lines = BTreeSet::new();
    for item in api.items() {
        let found = &index[item.id().0.to_string()];
        let parent = item.parent_id().map(|id| &index[id.0.to_string()]);
        let parent = parent.unwrap_or(&Value::Null);
        let line = format!("{item}{}", remark(found, parent));
        if !is_told_by_impl(found, parent) && is_asked_for(&line) {
            lines.insert(line);
        }
    }
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

/// The line of a feature: whoever chooses it needs it to stay.
fn feature_line(feature: &str) -> String {
    format!("feature {feature}\n")
}

/// What stands behind the line of `item`, which is in `parent`.
fn remark(item: &Value, parent: &Value) -> &'static str {
    let kind = &item["inner"]["struct"]["kind"];
    if kind == "unit" {
        return UNIT;
    }
    let fields = &kind["plain"];
    let is_open = item["attrs"].to_string().contains("non_exhaustive");
    if fields["has_stripped_fields"] == Value::Bool(false) && !is_open {
        return WRITABLE;
    }
    let is_in_trait = !parent["inner"]["trait"].is_null();
    if is_in_trait && item["inner"]["function"]["has_body"] == Value::Bool(false) {
        return REQUIRED;
    }
    ""
}

/// Whether `item` is a function that its `parent` must have, because that implements a trait.
fn is_told_by_impl(item: &Value, parent: &Value) -> bool {
    !item["inner"]["function"].is_null() && !parent["inner"]["impl"]["trait"].is_null()
}

/// Whether a line is that of something a person would call public.
fn is_asked_for(line: &str) -> bool {
    let is_of = |name: &&str| line.contains(&format!("{name} for "));
    !(line.starts_with("impl") && UNASKED.iter().any(is_of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn traits_that_nobody_asks_for_are_left_out() {
        assert!(!is_asked_for("impl core::marker::Unpin for a::B"));
        assert!(!is_asked_for("impl<T> !core::marker::Freeze for a::B<T>"));
        assert!(is_asked_for("impl core::marker::Send for a::B"));
        assert!(is_asked_for("impl !core::marker::Sync for a::B"));
    }

    #[test]
    fn functions_of_an_implemented_trait_are_told_by_the_line_of_the_impl() {
        let function = json!({"inner": {"function": {"has_body": true}}});
        let of_trait = json!({"inner": {"impl": {"trait": {"path": "Clone"}}}});
        let own = json!({"inner": {"impl": {"trait": null}}});
        assert!(is_told_by_impl(&function, &of_trait));
        assert!(!is_told_by_impl(&function, &own));
        let associated = json!({"inner": {"assoc_type": {}}});
        assert!(!is_told_by_impl(&associated, &of_trait));
    }

    #[test]
    fn what_a_signature_does_not_show_is_remarked() {
        let plain = |stripped: bool| json!({"inner": {"struct": {"kind": {"plain": {"has_stripped_fields": stripped}}}}});
        assert_eq!(remark(&plain(false), &Value::Null), WRITABLE);
        assert_eq!(remark(&plain(true), &Value::Null), "");
        let mut open = plain(false);
        open["attrs"] = json!(["non_exhaustive"]);
        assert_eq!(remark(&open, &Value::Null), "");
        let unit = json!({"inner": {"struct": {"kind": "unit"}}});
        assert_eq!(remark(&unit, &Value::Null), UNIT);
        let function = |body: bool| json!({"inner": {"function": {"has_body": body}}});
        let of_trait = json!({"inner": {"trait": {}}});
        assert_eq!(remark(&function(false), &of_trait), REQUIRED);
        assert_eq!(remark(&function(true), &of_trait), "");
        assert_eq!(remark(&function(true), &Value::Null), "");
    }
}
