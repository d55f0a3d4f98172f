//! `[policy]`: the rules of the file, and where those are kept that people set while the manager runs.

use std::path::{Path, PathBuf};

use telemetry_core::rules::Rule;

use super::error::ConfigError;
use super::section::Section;
use crate::policy::{RuleOrigin, RuleSet};

/// Name of the state file in the run_dir.
const STATE_FILE: &str = "policy.json";

/// `[policy]`
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct PolicySection {
    /// `[[policy.rule]]`, in the order of the file, which means nothing.
    pub rules: Vec<Rule>,
    /// Where live rules are kept; the default is `policy.json` in the run_dir. Absent where there is neither:
    /// then they end with the manager.
    pub state_file: Option<PathBuf>,
}

/// Reads the section.
pub(super) fn policy(
    section: Option<Section<'_>>,
    run_dir: Option<&Path>,
) -> Result<PolicySection, ConfigError> {
    let state_file = run_dir.map(|run_dir| run_dir.join(STATE_FILE));
    let Some(section) = section else {
        return Ok(PolicySection {
            rules: Vec::new(),
            state_file,
        });
    };
    let named = section.text("state_file")?.map(PathBuf::from);
    let tables = section.sections("rule")?;
    section.finish()?;
    let mut rules = Vec::with_capacity(tables.len());
    for table in &tables {
        let rule: Rule =
            serde_json::from_value(table.json()).map_err(|error| table.refuse(error))?;
        rules.push(rule);
    }
    let problems = RuleSet::default().problems(RuleOrigin::File, &rules);
    if let Some(problem) = problems.first() {
        let place = rules.iter().rposition(|rule| rule.id == problem.rule);
        let table = place.and_then(|place| tables.get(place));
        return Err(table.unwrap_or(&section).refuse_at(&problem.field, problem));
    }
    Ok(PolicySection {
        rules,
        state_file: named.or(state_file),
    })
}

#[cfg(test)]
mod tests {
    use telemetry_core::rules::RuleAction;

    use super::super::Config;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, "t.toml").map_err(|error| error.to_string())
    }

    #[test]
    fn rules_are_read_as_people_write_them() {
        let text = r#"
            [manager]
            run_dir = "/run/x"
            [[policy.rule]]
            id = "slow"
            match = ["tool.*"]
            except = ["*.exception"]
            rate = 0.1
            rank = -3
            [policy.rule.target]
            pool = "gpu-*"
            [[policy.rule]]
            id = "few"
            match = ["web.*"]
            per_second = 10
            for = "10m"
        "#;
        let config = parse(text).unwrap();
        let rules = &config.policy.rules;
        assert_eq!(rules[0].action, RuleAction::Rate(0.1));
        assert_eq!((rules[0].rank, rules.len()), (-3, 2));
        assert_eq!(rules[0].target.pool.as_deref(), Some("gpu-*"));
        let state = config.policy.state_file.unwrap();
        assert_eq!(state.to_str(), Some("/run/x/policy.json"));
    }

    #[test]
    fn a_pool_may_have_labels() {
        let pool = |labels: &str| {
            let text =
                "[manager]\nrun_dir = \"/run/x\"\n[[pool]]\nname = \"p\"\ncommand = [\"true\"]\n";
            parse(&format!("{text}labels = {labels}"))
        };
        let config = pool(r#"{ zone = "a" }"#).unwrap();
        assert_eq!(config.pools[0].labels["zone"], "a");
        for (labels, expected) in [
            (
                format!("{{ zone = {:?} }}", "x".repeat(65)),
                "is longer than 64 bytes",
            ),
            (r#"{ zone = "" }"#.to_owned(), "is empty"),
            (
                "{ a='1',b='1',c='1',d='1',e='1',f='1',g='1',h='1',i='1' }".to_owned(),
                "at most 8",
            ),
        ] {
            let said = pool(&labels).expect_err(expected);
            assert!(said.starts_with("t.toml:6:10: pool.labels: "), "{said}");
            assert!(said.contains(expected), "{said}");
        }
    }

    #[track_caller]
    fn refused(rules: &str, place: &str, expected: &str) {
        let said = parse(rules).expect_err(expected);
        assert!(said.starts_with(place), "{said}");
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn a_mistake_is_named_with_its_line_its_rule_and_its_field() {
        let rule = |rest: &str| format!("[[policy.rule]]\nid = \"a\"\n{rest}\n");
        let good = rule("match = [\"*\"]\nkeep = true");
        refused(
            &rule("match = [\"[\"]\ndrop = true"),
            "t.toml:3:",
            "rule \"a\": match: ",
        );
        refused(
            &rule("match = [\"*\"]\nrate = 1.5"),
            "t.toml:4:",
            "from 0 to 1",
        );
        refused(&rule("match = [\"*\"]"), "t.toml:1:", "exactly one of keep");
        refused(
            &rule("match = [\"*\"]\nrates = 1"),
            "t.toml:1:",
            "did you mean rate?",
        );
        refused(
            &format!("{good}{good}"),
            "t.toml:6:",
            "another rule has this id",
        );
        refused(
            "[policy]\nrules = []",
            "t.toml:2:",
            "did you mean \"rule\"?",
        );
    }
}
