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
    /// What each of them asks for at the ends of a name, which is all that most names are looked at for.
    ends: Vec<Ends>,
    /// Whether they cover the wire name only.
    wire_names: bool,
}

/// A name, with what is needed to see at a glance what does not match it.
#[derive(Clone, Copy)]
pub(super) struct Probe<'n> {
    /// The wire name.
    name: (&'n str, Ends),
    /// What follows its `python.`.
    rest: Option<(&'n str, Ends)>,
}

impl<'n> Probe<'n> {
    pub(super) fn new(wire_name: &'n str) -> Self {
        let of = |name| (name, Ends::of(name));
        Self {
            name: of(wire_name),
            rest: wire_name.strip_prefix(WORKER_PREFIX).map(of),
        }
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
        Ok(Self {
            ends: globs.iter().map(Pattern::ends).collect(),
            globs,
            wire_names,
        })
    }

    /// Whether any of them is about the event of this wire name.
    #[must_use]
    pub fn matches(&self, wire_name: &str) -> bool {
        self.covers(&Probe::new(wire_name))
    }

    pub(super) fn covers(&self, probe: &Probe<'_>) -> bool {
        let rest = probe.rest.filter(|_| !self.wire_names);
        self.covers_text(probe.name) || rest.is_some_and(|rest| self.covers_text(rest))
    }

    /// Whether any of them covers the whole of a text.
    #[inline]
    fn covers_text(&self, (name, ends): (&str, Ends)) -> bool {
        let mut globs = self.ends.iter().zip(&self.globs);
        globs.any(|(asked, glob)| asked.may_be_of(ends) && glob.matches(name))
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
