//! All globs of a set of rules, by what they ask for at the ends of a name: of a thousand of them a name meets
//! those few that it may match.

use rustc_hash::FxHashMap;

use super::names::{NameGlobs, Probe};
use crate::pattern::Ends;

/// Where a glob stands: the rule, and the glob in it.
type Place = (u16, u16);

/// The globs of all rules, each in one of three places.
#[derive(Debug, Default)]
pub(super) struct GlobIndex {
    /// Those that ask for first bytes.
    heads: Words,
    /// Those that ask for more last bytes.
    tails: Words,
    /// Those that ask for neither.
    others: Vec<Place>,
}

/// Globs by some bytes, and which of them are given.
#[derive(Debug, Default)]
struct Words {
    /// Which bytes are given, in any of them.
    masks: Vec<u64>,
    /// By these bytes and which of them are given.
    globs: FxHashMap<[u64; 2], Vec<Place>>,
}

impl GlobIndex {
    /// Adds the globs of a rule.
    pub(super) fn add(&mut self, rule: u16, globs: &NameGlobs) {
        for (glob, ends) in (0..).zip(globs.ends()) {
            let Ends { head, tail } = ends;
            // The more bytes are given, the fewer names have them.
            match (head[1], tail[1]) {
                (0, 0) => self.others.push((rule, glob)),
                (head_mask, tail_mask) if tail_mask > head_mask => {
                    self.tails.add(tail, (rule, glob));
                }
                _ => self.heads.add(head, (rule, glob)),
            }
        }
    }

    /// Calls `found` with each glob that may match a text with these ends.
    pub(super) fn look_up(&self, ends: Ends, mut found: impl FnMut(Place)) {
        self.heads.look_up(ends.head[0], &mut found);
        self.tails.look_up(ends.tail[0], &mut found);
        self.others.iter().copied().for_each(found);
    }
}

impl Words {
    fn add(&mut self, word: [u64; 2], place: Place) {
        if !self.masks.contains(&word[1]) {
            self.masks.push(word[1]);
        }
        self.globs.entry(word).or_default().push(place);
    }

    fn look_up(&self, word: u64, found: &mut impl FnMut(Place)) {
        for mask in &self.masks {
            let globs = self.globs.get(&[word & mask, *mask]);
            globs.into_iter().flatten().copied().for_each(&mut *found);
        }
    }
}

/// The rules whose globs cover a name, sorted; `globs` are those of a rule.
pub(super) fn matching<'g>(
    index: &GlobIndex,
    probe: &Probe<'_>,
    globs: impl Fn(u16) -> Option<&'g NameGlobs>,
) -> Vec<u16> {
    let mut rules = Vec::new();
    for (text, is_rest) in probe.texts() {
        index.look_up(text.1, |(rule, glob)| {
            if globs(rule).is_some_and(|globs| globs.is_covered_by(glob, text, is_rest)) {
                rules.push(rule);
            }
        });
    }
    rules.sort_unstable();
    rules.dedup();
    rules
}
