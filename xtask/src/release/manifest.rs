//! Manifests and the lock file, changed as text: whatever is not meant stays as somebody wrote it.
//!
//! Each function is given a text and returns a new one, or none where what it should change is not there.

/// `text` with the string `value` at `key` in `[table]`.
pub(crate) fn with_value(text: &str, table: &str, key: &str, value: &str) -> Option<String> {
    edit(text, table, key, |line| {
        let start = line.find('"')? + 1;
        let end = start + line[start..].find('"')?;
        Some(format!("{}{value}{}", &line[..start], &line[end..]))
    })
}

/// The root manifest `text` with `version` for the dependency `name` of the workspace.
pub(crate) fn with_dependency_version(text: &str, name: &str, version: &str) -> Option<String> {
    edit(text, "workspace.dependencies", name, |line| {
        let start = line.find("version = \"")? + "version = \"".len();
        let end = start + line[start..].find('"')?;
        Some(format!("{}{version}{}", &line[..start], &line[end..]))
    })
}

/// The root manifest `text` with `key = "value"` added to the dependency `name` of the workspace.
pub(crate) fn with_dependency_key(
    text: &str,
    name: &str,
    key: &str,
    value: &str,
) -> Option<String> {
    edit(text, "workspace.dependencies", name, |line| {
        let end = line.rfind('}')?;
        let before = line[..end].trim_end();
        Some(format!("{before}, {key} = \"{value}\" {}", &line[end..]))
    })
}

/// The manifest `text` of a package with `library` as the name of its library, unless it gives it one.
pub(crate) fn with_library(text: &str, library: &str) -> String {
    let named = format!("name = \"{library}\"\n");
    if edit(text, "lib", "name", |line| Some(line.to_owned())).is_some() {
        return text.to_owned();
    }
    match text.split_once("\n[lib]\n") {
        Some((before, after)) => format!("{before}\n[lib]\n{named}{after}"),
        None => format!("{}\n\n[lib]\n{named}", text.trim_end()),
    }
}

/// The lock file `text` with `version` for the package `name` of the workspace.
pub(crate) fn with_locked_version(text: &str, name: &str, version: &str) -> Option<String> {
    let mut is_changed = false;
    let text = in_blocks(text, |block| {
        let changed = with_value(block, "", "version", version);
        match changed.filter(|_| is_own(block, name)) {
            Some(changed) => {
                is_changed = true;
                changed
            }
            None => block.to_owned(),
        }
    });
    is_changed.then_some(text)
}

/// The lock file `text` in which the package `name` of the workspace has the name `new`, in the order in
/// which cargo would write it.
pub(crate) fn with_locked_name(text: &str, name: &str, new: &str) -> String {
    let text = in_blocks(text, |block| {
        let block = if is_own(block, name) {
            block.replacen(
                &format!("name = \"{name}\""),
                &format!("name = \"{new}\""),
                1,
            )
        } else {
            block.to_owned()
        };
        let block = block.replace(&format!("\n \"{name}\","), &format!("\n \"{new}\","));
        with_sorted_dependencies(&block)
    });
    let mut blocks = text.split(BLOCK);
    let head = blocks.next().unwrap_or_default();
    let mut blocks: Vec<&str> = blocks.map(str::trim_end).collect();
    blocks.sort_by_key(|block| block.lines().next().unwrap_or_default().to_owned());
    format!("{head}{BLOCK}{}\n", blocks.join(&format!("\n\n{BLOCK}")))
}

/// The line that each package of a lock file begins with.
const BLOCK: &str = "[[package]]\n";

/// Whether `block` is of the package `name`, which comes from no registry.
fn is_own(block: &str, name: &str) -> bool {
    block.starts_with(&format!("name = \"{name}\"\n")) && !block.contains("\nsource = ")
}

/// `text` with each of its packages passed through `change`.
fn in_blocks(text: &str, mut change: impl FnMut(&str) -> String) -> String {
    let mut blocks = text.split(BLOCK);
    let head = blocks.next().unwrap_or_default().to_owned();
    blocks.fold(head, |text, block| text + BLOCK + &change(block))
}

fn with_sorted_dependencies(block: &str) -> String {
    let Some((before, rest)) = block.split_once("dependencies = [\n") else {
        return block.to_owned();
    };
    let Some((listed, after)) = rest.split_once(']') else {
        return block.to_owned();
    };
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_by_key(|line| line.trim_matches([' ', '"', ',']).to_owned());
    let listed: String = listed.iter().map(|line| format!("{line}\n")).collect();
    format!("{before}dependencies = [\n{listed}]{after}")
}

/// `text` with the line of `key` in `[table]` passed through `change`; the empty table is what stands before
/// any heading.
fn edit(
    text: &str,
    table: &str,
    key: &str,
    change: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let mut current = "";
    let place = text.split_inclusive('\n').position(|line| {
        if let Some(heading) = code(line).trim().strip_prefix('[') {
            current = heading.trim_end_matches(']');
        }
        let rest = line.strip_prefix(key).map(str::trim_start);
        current == table && rest.is_some_and(|rest| rest.starts_with('='))
    })?;
    let line = &lines[place];
    let code = code(line);
    lines[place] = change(code)? + &line[code.len()..];
    Some(lines.concat())
}

/// `line` without a comment at its end.
fn code(line: &str) -> &str {
    let mut quote = None;
    let mut is_escaped = false;
    for (place, letter) in line.char_indices() {
        match (quote, letter) {
            _ if is_escaped => is_escaped = false,
            (Some('"'), '\\') => is_escaped = true,
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, '#') => return &line[..place],
            _ => {}
        }
    }
    line
}

/// Whether the root manifest `text` has the dependency `name` of the workspace, in whatever form.
pub(crate) fn has_dependency(text: &str, name: &str) -> bool {
    let mut is_in_table = false;
    text.lines().map(code).map(str::trim).any(|line| {
        if let Some(heading) = line.strip_prefix('[') {
            let heading = heading.trim_end_matches(']').replace(['"', '\'', ' '], "");
            is_in_table = heading == "workspace.dependencies";
            return heading == format!("workspace.dependencies.{name}");
        }
        let key = line.split(['=', '.']).next().unwrap_or_default();
        is_in_table && key.trim().trim_matches(['"', '\'']) == name
    })
}

/// Whether the manifest `text` of a member takes the dependency `name` from the workspace, wherever it asks
/// for it.
pub(crate) fn inherits(text: &str, name: &str) -> bool {
    let mut asked = text.lines().filter_map(|line| {
        let rest = code(line).strip_prefix(name)?;
        rest.starts_with(['.', ' ', '=']).then_some(rest)
    });
    let takes = |rest: &str| {
        let rest = rest.replace(' ', "");
        ["workspace=true,", "workspace=true}"]
            .iter()
            .any(|it| rest.contains(it))
            || rest.trim_end() == ".workspace=true"
    };
    let first = asked.next();
    first.is_some_and(takes) && asked.all(takes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[workspace.package]\nversion = \"9.9.9\"\n\n[workspace.dependencies]\n# Ours.\n\
                        low = { path = \"crates/low\", version = \"0.1.0\", default-features = false }\n\
                        lower = \"0.1.0\"\n";

    #[test]
    fn only_the_value_that_is_meant_changes() {
        let text =
            "[package]\nname = \"low\"\nversion = \"0.1.0\" # ours\n\n[x]\nversion = \"0.1.0\"\n";
        assert_eq!(
            with_value(text, "package", "version", "0.2.0").unwrap(),
            "[package]\nname = \"low\"\nversion = \"0.2.0\" # ours\n\n[x]\nversion = \"0.1.0\"\n"
        );
        assert_eq!(with_value(text, "lib", "version", "0.2.0"), None);
        assert_eq!(
            with_value("version.workspace = true\n", "", "version", "1"),
            None
        );
    }

    #[test]
    fn a_dependency_of_the_workspace_is_one_line() {
        let changed = with_dependency_version(ROOT, "low", "0.2.0").unwrap();
        assert_eq!(
            changed,
            ROOT.replace("version = \"0.1.0\"", "version = \"0.2.0\"")
        );
        let changed = with_dependency_key(ROOT, "low", "package", "high").unwrap();
        assert!(
            changed.contains("default-features = false, package = \"high\" }\n"),
            "{changed}"
        );
        assert_eq!(with_dependency_version(ROOT, "other", "0.2.0"), None);
        assert_eq!(with_dependency_version(ROOT, "lower", "0.2.0"), None);
    }

    #[test]
    fn a_comment_is_no_part_of_what_changes() {
        let line = "low = { path = \"a#b\", version = \"0.1.0\" } # not { version = \"9\" }";
        let text = format!("[workspace.dependencies] # ours\n{line}\n");
        let expected = text.replace("0.1.0", "0.2.0");
        assert_eq!(
            with_dependency_version(&text, "low", "0.2.0").unwrap(),
            expected
        );
        let changed = with_dependency_key(&text, "low", "package", "high").unwrap();
        let expected = text.replace("\"0.1.0\" }", "\"0.1.0\", package = \"high\" }");
        assert_eq!(changed, expected);
    }

    #[test]
    fn another_form_of_a_dependency_is_seen() {
        for text in [
            ROOT,
            "[workspace.dependencies.low]\nversion = \"0.1.0\"\n",
            "[workspace.dependencies]\nlow.version = \"0.1.0\"\n",
            "[workspace.dependencies]\n\"low\" = \"0.1.0\"\n",
        ] {
            assert!(has_dependency(text, "low"), "{text}");
        }
        assert!(!has_dependency("[dependencies]\nlow = \"1\"\n", "low"));
        assert!(!has_dependency(
            "[workspace.dependencies]\nlower = \"1\"\n",
            "low"
        ));
        for (text, expected) in [
            ("low.workspace = true\n", true),
            ("low = { workspace = true, features = [] }\n", true),
            ("low = { path = \"../low\", version = \"0.1.0\" }\n", false),
            ("lower.workspace = true\n", false),
            (
                "low.workspace = true\n\n[dev-dependencies]\nlow = { path = \"../low\" }\n",
                false,
            ),
        ] {
            assert_eq!(inherits(text, "low"), expected, "{text}");
        }
    }

    #[test]
    fn a_library_keeps_the_name_that_it_is_given() {
        let plain = "[package]\nname = \"low\"\n";
        assert_eq!(
            with_library(plain, "low"),
            format!("{plain}\n[lib]\nname = \"low\"\n")
        );
        let open = "[package]\nname = \"low\"\n\n[lib]\ntest = false\n";
        let expected = "[package]\nname = \"low\"\n\n[lib]\nname = \"low\"\ntest = false\n";
        assert_eq!(with_library(open, "low"), expected);
        assert_eq!(with_library(expected, "other"), expected);
    }

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"x\"\n\n\
                        [[package]]\nname = \"b\"\nversion = \"0.1.0\"\ndependencies = [\n \"a\",\n \"c\",\n]\n\n\
                        [[package]]\nname = \"c\"\nversion = \"0.1.0\"\n";

    #[test]
    fn a_lock_file_has_the_new_version_of_a_package_of_ours_only() {
        let changed = with_locked_version(LOCK, "c", "0.2.0").unwrap();
        assert!(
            changed.ends_with("name = \"c\"\nversion = \"0.2.0\"\n"),
            "{changed}"
        );
        assert_eq!(changed.matches("0.1.0").count(), 1, "{changed}");
        assert_eq!(with_locked_version(LOCK, "a", "2.0.0"), None);
    }

    #[test]
    fn a_renamed_package_stands_where_cargo_would_write_it() {
        let expected = "version = 4\n\n[[package]]\nname = \"0\"\nversion = \"0.1.0\"\n\n\
                        [[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"x\"\n\n\
                        [[package]]\nname = \"b\"\nversion = \"0.1.0\"\ndependencies = [\n \"0\",\n \"a\",\n]\n";
        assert_eq!(with_locked_name(LOCK, "c", "0"), expected);
    }
}
