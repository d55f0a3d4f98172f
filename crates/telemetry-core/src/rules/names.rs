//! Which names the globs of a rule are about.
//!
//! People write names as they see them: as workers send them (`tool.execution.stop`), or as handlers get
//! them (`snakepit.python.tool.execution.stop`), with or without that prefix. Both mean the same.

use crate::pattern::{Ends, Pattern, PatternError, PatternLimits};

use super::MAX_RULE_GLOBS;

/// What every event name begins with.
const NAME_PREFIX: &str = "snakepit.";
/// What the event name of a worker's event has behind it, and some wire names begin with.
const WORKER_PREFIX: &str = "python.";

/// A compiled list of globs, as people write them.
///
/// ```
/// use telemetry_core::rules::NameGlobs;
///
/// let globs = NameGlobs::new(&["snakepit.python.tool.*".into(), "call.stop".into()])?;
/// assert!(globs.matches("tool.execution.stop"));
/// assert!(globs.matches("python.call.stop"));
/// # Ok::<(), telemetry_core::catalog::PatternError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct NameGlobs {
    /// Each of them.
    globs: Vec<Pattern>,
    /// Whether they cover the wire name only.
    wire_names: bool,
}

/// A text that globs are held against, and its ends.
type Text<'n> = (&'n str, Ends);

/// A name, with what is needed to see at a glance what does not match it.
#[derive(Clone, Copy)]
pub(super) struct Probe<'n> {
    /// The wire name.
    name: Text<'n>,
    /// What follows its `python.`.
    rest: Option<Text<'n>>,
}

impl<'n> Probe<'n> {
    pub(super) fn new(wire_name: &'n str) -> Self {
        let of = |name| (name, Ends::of(name));
        Self {
            name: of(wire_name),
            rest: wire_name.strip_prefix(WORKER_PREFIX).map(of),
        }
    }

    /// What globs are held against, and whether it is the rest of the name.
    pub(super) fn texts(&self) -> impl Iterator<Item = (Text<'n>, bool)> + use<'n> {
        let rest = self.rest.map(|rest| (rest, true));
        [(self.name, false)].into_iter().chain(rest)
    }
}

impl NameGlobs {
    /// Compiles a list of at most [`MAX_RULE_GLOBS`] globs over wire or event names.
    ///
    /// # Errors
    ///
    /// [`PatternError`] names the glob, its place in the list and what is wrong.
    pub fn new(globs: &[String]) -> Result<Self, PatternError> {
        Self::compile(globs, false)
    }

    /// The same; `wire_names`: they cover the whole wire name and nothing else.
    pub(super) fn compile(globs: &[String], wire_names: bool) -> Result<Self, PatternError> {
        let limits = PatternLimits {
            max_patterns: MAX_RULE_GLOBS,
            ..PatternLimits::default()
        };
        limits.check(globs)?;
        let compiled = (1..).zip(globs).map(|(position, glob)| {
            let glob = if wire_names { glob } else { bare(glob) };
            Pattern::at(glob, position)
        });
        let globs = compiled.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { globs, wire_names })
    }

    /// Whether any of them is about the event of this wire name.
    #[must_use]
    pub fn matches(&self, wire_name: &str) -> bool {
        self.covers(&Probe::new(wire_name))
    }

    pub(super) fn covers(&self, probe: &Probe<'_>) -> bool {
        let mut texts = probe.texts();
        texts.any(|(text, is_rest)| {
            let mut globs = (0..).take(self.globs.len());
            globs.any(|glob| self.is_covered_by(glob, text, is_rest))
        })
    }

    /// Whether one of them covers the whole of a text, which is a wire name or the rest of one.
    #[inline]
    pub(super) fn is_covered_by(&self, glob: u16, (text, ends): Text<'_>, is_rest: bool) -> bool {
        let covers = |glob: &Pattern| glob.ends().may_be_of(ends) && glob.matches(text);
        !(is_rest && self.wire_names) && self.globs.get(usize::from(glob)).is_some_and(covers)
    }

    /// What each of them asks for at the ends of a name.
    pub(super) fn ends(&self) -> impl Iterator<Item = Ends> {
        self.globs.iter().map(Pattern::ends)
    }
}

/// A glob without the prefix of event names.
fn bare(glob: &str) -> &str {
    match glob.strip_prefix(NAME_PREFIX) {
        // `snakepit.python.*` is every event, and so is `snakepit.*`.
        Some(rest) => rest.strip_prefix(WORKER_PREFIX).unwrap_or(rest),
        None => glob,
    }
}

/// What a glob that a person wrote is as globs over wire names only, one or two of them: for a worker that
/// knows no rules.
#[must_use]
pub fn wire_globs(glob: &str) -> Vec<String> {
    let glob = bare(glob);
    let mut globs = vec![glob.to_owned()];
    if !glob.starts_with('*') && !glob.starts_with(WORKER_PREFIX) {
        globs.push(format!("{WORKER_PREFIX}{glob}"));
    }
    globs
}
