//! Glob patterns over event names, one at a time and in bounded lists.
//!
//! This is the only room that knows glob syntax. It compiles what control brings and answers
//! whether a name matches; what a match means is the policy's business.

mod ends;

use std::fmt;

use globset::GlobBuilder;
use regex_lite::{Regex, RegexBuilder};
use thiserror::Error;

pub(crate) use ends::Ends;

/// Most patterns in one list, by default.
pub const MAX_PATTERNS: usize = 64;

/// Most bytes in one pattern, by default.
pub const MAX_PATTERN_BYTES: usize = 256;

/// Longest piece of a refused pattern that an error repeats, in characters.
const MAX_QUOTED_CHARS: usize = 80;

/// The characters that make a pattern more than an exact name. A comma or a closing bracket alone
/// is literal; a closing brace alone is an error that only the parser can tell.
const SPECIAL: [char; 6] = ['*', '?', '[', '{', '}', '\\'];

/// How large a list of patterns may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PatternLimits {
    /// Most patterns in the list.
    pub max_patterns: usize,
    /// Most bytes in each of them.
    pub max_bytes: usize,
}

impl Default for PatternLimits {
    fn default() -> Self {
        Self {
            max_patterns: MAX_PATTERNS,
            max_bytes: MAX_PATTERN_BYTES,
        }
    }
}

/// One compiled glob.
///
/// `*` stands for any run of characters, dots included; `?` for one character; `[abc]`, `[a-z]` and
/// `[!a]` for one of a class; `{a,b}` for one of several, of which one may be empty; outside a class
/// a backslash takes the next character literally. A match covers the whole name and respects case.
/// Names are ASCII, so a character is a byte here.
///
/// ```
/// use telemetry_core::catalog::Pattern;
///
/// assert!(Pattern::new("python.*")?.matches("python.call.stop"));
/// assert!(!Pattern::new("python.*")?.matches("python"));
/// assert!(Pattern::new("tool.*.{start,stop}")?.matches("tool.execution.stop"));
/// # Ok::<(), telemetry_core::catalog::PatternError>(())
/// ```
#[derive(Clone)]
pub struct Pattern {
    /// The text it was compiled from.
    source: String,
    /// How to match it.
    form: Form,
    /// What a name must have at its ends.
    ends: Ends,
}

/// Nearly all patterns have the first two shapes, which are a comparison.
#[derive(Clone)]
enum Form {
    /// No special character.
    Exact,
    /// Special only in one final `*`; `*` alone is the empty prefix. Holds the prefix length.
    Prefix(usize),
    /// Special only in one first `*`.
    Suffix,
    /// Everything else.
    Glob(Regex),
}

/// Some patterns, of which any may match.
#[derive(Clone, Default)]
pub struct PatternSet {
    /// The texts it was compiled from, in their order.
    sources: Vec<String>,
    /// Each of them, compiled.
    patterns: Vec<Pattern>,
}

/// What is wrong with a pattern or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The list has too many patterns.
    #[error("a list of {count} patterns is too long; at most {max} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// A pattern is empty: it could match no name.
    #[error("pattern {position} of the list is empty; write `*` to match every event")]
    Empty {
        /// Place in the list, from 1; 1 for a pattern on its own.
        position: usize,
    },
    /// A pattern is too long.
    #[error(
        "pattern {position} of the list ({pattern:?}) has {bytes} bytes; at most {max} are allowed"
    )]
    TooLong {
        /// The pattern, cut to a quotable length.
        pattern: String,
        /// Place in the list, from 1; 1 for a pattern on its own.
        position: usize,
        /// Its length.
        bytes: usize,
        /// How many bytes are allowed.
        max: usize,
    },
    /// A pattern is no valid glob.
    #[error("pattern {position} of the list ({pattern:?}) is no valid glob: {problem}")]
    Syntax {
        /// The pattern, cut to a quotable length.
        pattern: String,
        /// Place in the list, from 1; 1 for a pattern on its own.
        position: usize,
        /// What is wrong with it.
        problem: String,
    },
}

impl PatternLimits {
    /// Checks the sizes of a list, without a look at syntax.
    ///
    /// # Errors
    ///
    /// [`PatternError`] for too many, too long or empty patterns.
    pub fn check(self, patterns: &[String]) -> Result<(), PatternError> {
        if patterns.len() > self.max_patterns {
            let (count, max) = (patterns.len(), self.max_patterns);
            return Err(PatternError::TooMany { count, max });
        }
        patterns
            .iter()
            .enumerate()
            .try_for_each(|(index, pattern)| check_size(pattern, index + 1, self.max_bytes))
    }
}

impl Pattern {
    /// Whether a text has nothing of a glob, so that it can match one name only: itself.
    #[must_use]
    pub fn is_exact(text: &str) -> bool {
        !text.contains(['*', '?', '[', '{', '}', '\\'])
    }

    /// The patterns of a comma list, trimmed and without empty ones; a comma within `{a,b}` or `[a,b]`, or
    /// behind a `\`, is part of its pattern. Whether they are valid is another question.
    pub fn split_list(list: &str) -> impl Iterator<Item = &str> {
        let mut depth = 0_usize;
        let mut is_escaped = false;
        // Within a class, how many characters it has so far.
        let mut class = None;
        list.split(move |character| {
            if let Some(length) = &mut class {
                // The first one is of the class, whatever it is, and so is one behind a negation.
                match character {
                    ']' if *length > 0 => class = None,
                    '!' | '^' if *length == 0 => {}
                    _ => *length += 1,
                }
                return false;
            }
            if std::mem::take(&mut is_escaped) {
                return false;
            }
            match character {
                '\\' => is_escaped = true,
                '[' => class = Some(0_usize),
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            character == ',' && depth == 0
        })
        .map(str::trim)
        .filter(|pattern| !pattern.is_empty())
    }

    /// Compiles one pattern of at most [`MAX_PATTERN_BYTES`].
    ///
    /// # Errors
    ///
    /// [`PatternError`] with position 1.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        check_size(pattern, 1, MAX_PATTERN_BYTES)?;
        Self::at(pattern, 1)
    }

    /// Compiles the pattern at `position` of a list whose sizes were checked.
    pub(crate) fn at(pattern: &str, position: usize) -> Result<Self, PatternError> {
        let form = match pattern.find(SPECIAL) {
            None => Form::Exact,
            Some(at) if &pattern[at..] == "*" => Form::Prefix(at),
            Some(0) if pattern.starts_with('*') && Self::is_exact(&pattern[1..]) => Form::Suffix,
            Some(_) => Form::Glob(parse(pattern).map_err(|problem| {
                let pattern = quoted(pattern);
                PatternError::Syntax {
                    pattern,
                    position,
                    problem,
                }
            })?),
        };
        Ok(Self {
            source: pattern.to_owned(),
            form,
            ends: Ends::asked_by(pattern),
        })
    }

    /// What it asks for at the ends of a name.
    pub(crate) fn ends(&self) -> Ends {
        self.ends
    }

    /// Whether the pattern covers the whole of `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match &self.form {
            Form::Exact => self.source == name,
            Form::Prefix(length) => name
                .as_bytes()
                .starts_with(&self.source.as_bytes()[..*length]),
            Form::Suffix => name.as_bytes().ends_with(&self.source.as_bytes()[1..]),
            Form::Glob(regex) => regex.is_match(name),
        }
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl PatternSet {
    /// Compiles a list. An empty list is valid and matches nothing.
    ///
    /// # Errors
    ///
    /// [`PatternError`] names the pattern, its place in the list and what is wrong; nothing of the
    /// list is kept then.
    pub fn new(patterns: &[String], limits: PatternLimits) -> Result<Self, PatternError> {
        limits.check(patterns)?;
        let compiled = patterns
            .iter()
            .enumerate()
            .map(|(index, pattern)| Pattern::at(pattern, index + 1));
        Ok(Self {
            patterns: compiled.collect::<Result<_, _>>()?,
            sources: patterns.to_vec(),
        })
    }

    /// Whether any pattern covers the whole of `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether the list has no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The texts it was compiled from, in their order.
    #[must_use]
    pub fn sources(&self) -> &[String] {
        &self.sources
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Pattern")
            .field(&self.source)
            .finish()
    }
}

impl fmt::Debug for PatternSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("PatternSet")
            .field(&self.sources)
            .finish()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.source)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

fn check_size(pattern: &str, position: usize, max: usize) -> Result<(), PatternError> {
    let bytes = pattern.len();
    if bytes == 0 {
        Err(PatternError::Empty { position })
    } else if bytes > max {
        Err(PatternError::TooLong {
            pattern: quoted(pattern),
            position,
            bytes,
            max,
        })
    } else {
        Ok(())
    }
}

/// Reads a glob; what it matches is a small regular expression then. `globset` compiles with an engine that is
/// faster, and much larger than all else here; a name is matched once for each policy.
fn parse(pattern: &str) -> Result<Regex, String> {
    // globset is made for paths. With the separator not literal `*` crosses it, and with runs of
    // stars made one its rules for `**` never apply; a name has dots and no slashes, so nothing
    // else of paths shows. The escape is set because its default differs between platforms.
    let glob = GlobBuilder::new(&without_star_runs(pattern))
        .literal_separator(false)
        .case_insensitive(false)
        .backslash_escape(true)
        .empty_alternates(true)
        .build()
        .map_err(|error| error.kind().to_string())?;
    // It asks for bytes in place of characters, which is all that this engine knows of ASCII.
    let regex = glob.regex();
    let regex = regex.strip_prefix("(?-u)").unwrap_or(regex);
    RegexBuilder::new(regex)
        .nest_limit(u32::try_from(MAX_PATTERN_BYTES).unwrap_or(u32::MAX))
        .build()
        .map_err(|error| error.to_string())
}

/// `a**b` as `a*b`, which means the same. An escaped star is no part of a run.
fn without_star_runs(pattern: &str) -> String {
    let mut short = String::with_capacity(pattern.len());
    let mut escaped = false;
    let mut star = false;
    for character in pattern.chars() {
        let plain_star = character == '*' && !escaped;
        if !(plain_star && star) {
            short.push(character);
        }
        star = plain_star;
        escaped = character == '\\' && !escaped;
    }
    short
}

fn quoted(pattern: &str) -> String {
    pattern.chars().take(MAX_QUOTED_CHARS).collect()
}

#[cfg(test)]
mod tests;
