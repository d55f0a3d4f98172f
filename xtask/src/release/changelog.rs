//! Changelogs, as far as a release needs them: which sections there are, and whether they hold anything.

use super::version::Version;

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
    let is_told = |name: &str| {
        sections
            .iter()
            .any(|section| section.name == name && !section.is_empty)
    };
    if released != Some(version) && !is_told("Unreleased") && !is_told(&version.to_string()) {
        faults.push(format!(
            "has neither a section [Unreleased] nor one [{version}] with anything in it"
        ));
    }
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
    fn what_is_to_be_released_is_told_in_either_section() {
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
    fn a_section_without_anything_in_it_tells_nothing() {
        let fault = "has neither a section [Unreleased] nor one [0.2.0] with anything in it";
        check("## [Unreleased]\n\n### Added\n\n", Some("0.1.0"), &[fault]);
        check("## [0.1.0]\n\n* a\n", Some("0.1.0"), &[fault]);
        check("# Changelog\n", Some("0.2.0"), &[]);
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
    fn a_section_that_is_there_twice_is_named() {
        let text = "## [Unreleased]\n\n* a\n\n## [Unreleased]\n\n* b\n";
        check(text, None, &["has two sections [Unreleased]"]);
    }
}
