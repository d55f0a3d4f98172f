//! Which packages have to move because others do, as a plan says it.

use std::collections::BTreeMap;

use super::{super::packages::Package, Proposal};

/// For each package that takes a step: which of those that use it have to move, and why.
pub(super) fn lines(packages: &[Package], proposals: &BTreeMap<String, Proposal>) -> Vec<String> {
    let mut lines = Vec::new();
    for below in packages {
        let Some(proposal) = proposals.get(below.name.as_str()) else {
            continue;
        };
        if proposal
            .released
            .is_none_or(|released| released == proposal.version)
        {
            continue;
        }
        let Proposal { version, .. } = proposal;
        for package in packages.iter().filter(|it| it.uses.contains(&below.name)) {
            let own = proposals.get(package.name.as_str());
            if own.is_none_or(|own| own.released.is_none()) {
                continue;
            }
            let (need, does) = if proposal.breaks() {
                ("must", "does not admit")
            } else {
                ("need not", "admits")
            };
            lines.push(format!(
                "{} {need} move for {} {version}: what it asks for {does} that",
                package.name, below.name
            ));
        }
    }
    if lines.is_empty() {
        lines.push("no crate moves another".to_owned());
    }
    lines
}
