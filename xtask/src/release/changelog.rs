//! Changelogs, as far as a release needs them: which sections there are, whether they hold anything, and the
//! heading that a release gives to what was unreleased.

use super::version::Version;

/// The heading of what is not released yet.
const UNRELEASED: &str = "## [Unreleased]";

/// A heading `## [name]` and what is below it.
#[derive(Debug)]
struct Section<'a> {
    name: &'a str,
    is_empty: bool,
}

/// What is wrong with the changelog `text` of a package at `version`, whose last release was `released`.
pub(crate) fn faults(text: &str, version: Version, released: Option<Version>) -> Vec<String> {
    let sections = sections(text);
    let mut faults = Vec::new();
    for section in &sections {
        let named = |other: &&Section<'_>| other.name == section.name;
        if sections.iter().filter(named).count() > 1 {
            faults.push(format!("has two sections [{}]", section.name));
        }
        let is_ahead = |it: Version| it != version && released.is_none_or(|last| it > last);
        if Version::parse(section.name).is_some_and(is_ahead) {
            faults.push(format!(
                "has a section [{}], which was never released and is not the manifest's version {version}",
                section.name
            ));
        }
    }
    faults.dedup();
    faults
}

/// The changelog `text` with what was unreleased below the heading of `version`, released at `date`. It is
/// returned as it is if that has been done. Otherwise says what is wrong.
pub(crate) fn released(text: &str, version: Version, date: &str) -> Result<String, String> {
    let heading = format!("## [{version}]");
    let sections = sections(text);
    let is_told = |name: &str| {
        let found = sections.iter().find(|section| section.name == name);
        found.map(|section| !section.is_empty)
    };
    match (is_told("Unreleased"), is_told(&version.to_string())) {
        (Some(true), None) => {
            let new = format!("{UNRELEASED}\n\n{heading} - {date}");
            Ok(text.replacen(UNRELEASED, &new, 1))
        }
        (Some(true), Some(_)) => Err(format!(
            "has something in [Unreleased], and a section [{version}] already"
        )),
        (_, Some(true)) if is_dated(text, &heading) => Ok(text.to_owned()),
        (Some(false) | None, _) => Err(format!(
            "has nothing in [Unreleased], which is to be released as {version}"
        )),
    }
}

/// The versions whose heading in the changelog `text` says the day of their release.
pub(crate) fn dated(text: &str) -> Vec<Version> {
    let sections = sections(text);
    let versions = sections
        .iter()
        .filter(|section| is_dated(text, &format!("## [{}]", section.name)));
    versions
        .filter_map(|section| Version::parse(section.name))
        .collect()
}

/// Whether `heading` has a day behind it.
fn is_dated(text: &str, heading: &str) -> bool {
    let mut behind = text.lines().filter_map(|line| line.strip_prefix(heading));
    behind.any(|rest| {
        let digits = rest.strip_prefix(" - ").unwrap_or_default();
        digits.len() == 10 && digits.bytes().all(|it| it.is_ascii_digit() || it == b'-')
    })
}

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in text.lines() {
        let name = line
            .strip_prefix("## [")
            .and_then(|rest| rest.split(']').next());
        if let Some(name) = name {
            let is_empty = true;
            sections.push(Section { name, is_empty });
        } else if let Some(section) = sections.last_mut() {
            // A heading of a part, `### Added`, says nothing alone.
            section.is_empty &= line.trim().is_empty() || line.starts_with('#');
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, released: Option<&str>, expected: &[&str]) {
        let version = |text| Version::parse(text).unwrap();
        assert_eq!(
            faults(text, version("0.2.0"), released.map(version)),
            expected
        );
    }

    #[test]
    fn sections_of_what_was_and_is_to_be_released_are_no_fault() {
        check(
            "# Changelog\n\n## [Unreleased]\n\n### Added\n\n* a\n",
            None,
            &[],
        );
        check(
            "## [0.2.0] - 2026-01-01\n\n* a\n\n## [0.1.0]\n\n* b\n",
            Some("0.1.0"),
            &[],
        );
    }

    #[test]
    fn a_version_that_was_never_released_is_named() {
        let text = "## [Unreleased]\n\n* a\n\n## [0.1.0]\n\n* b\n";
        let fault = "has a section [0.1.0], which was never released and is not the manifest's \
                     version 0.2.0";
        check(text, None, &[fault]);
        check(text, Some("0.1.0"), &[]);
    }

    #[test]
    fn what_was_unreleased_gets_a_heading_once() {
        let version = Version::parse("0.2.0").unwrap();
        let text = "# Changelog\n\n## [Unreleased]\n\n* a\n\n## [0.1.0] - 2025-01-01\n\n* b\n";
        let expected = text.replace("[Unreleased]", "[Unreleased]\n\n## [0.2.0] - 2026-01-31");
        let done = released(text, version, "2026-01-31").unwrap();
        assert_eq!(done, expected);
        assert_eq!(released(&done, version, "2026-02-01").unwrap(), expected);
    }

    #[test]
    fn a_version_with_a_day_was_released() {
        let text =
            "## [Unreleased]\n\n## [0.3.0]\n\n## [0.2.0] - soon\n\n## [0.1.0] - 2025-01-01\n";
        assert_eq!(dated(text), [Version::parse("0.1.0").unwrap()]);
    }

    #[test]
    fn a_release_of_nothing_or_of_what_was_released_is_refused() {
        let version = Version::parse("0.2.0").unwrap();
        for (text, expected) in [
            (
                "## [Unreleased]\n\n### Added\n",
                "has nothing in [Unreleased]",
            ),
            ("# Changelog\n", "has nothing in [Unreleased]"),
            (
                "## [Unreleased]\n\n## [0.2.0] - unreleased\n\n* a\n",
                "has nothing in [Unreleased]",
            ),
            (
                "## [Unreleased]\n\n* a\n\n## [0.2.0]\n",
                "a section [0.2.0] already",
            ),
        ] {
            let fault = released(text, version, "2026-01-31").unwrap_err();
            assert!(fault.contains(expected), "{fault}");
        }
    }

    #[test]
    fn a_section_that_is_there_twice_is_named() {
        let text = "## [Unreleased]\n\n* a\n\n## [Unreleased]\n\n* b\n";
        check(text, None, &["has two sections [Unreleased]"]);
    }
}
