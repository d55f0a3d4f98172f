//! `[log]`: what the manager says of itself, and in which form.
//!
//! Only names what is wanted; the command makes a subscriber of it.

use std::str::FromStr;

use thiserror::Error;
use tracing::level_filters::LevelFilter;

use super::error::ConfigError;
use super::section::Section;

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OwnLogSection {
    /// What each line looks like.
    pub format: LogFormat,
    /// Which lines there are.
    pub level: LogFilter,
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Which lines of the log there are: a level for all, and others for some targets.
///
/// Written as `LEVEL`, or as a list such as `info,telemetry_server::session=debug`. The levels are
/// `off`, `error`, `warn`, `info`, `debug` and `trace`; a target is a module path and covers what is
/// below it. What no entry covers has the level `info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    /// Level of what no target covers.
    level: LevelFilter,
    /// Targets with levels of their own, in the order in which they were written.
    targets: Vec<(String, LevelFilter)>,
}

impl LogFilter {
    /// Level of what no target covers.
    #[must_use]
    pub fn level(&self) -> LevelFilter {
        self.level
    }

    /// Targets with levels of their own; of two for one target the later one holds.
    pub fn targets(&self) -> impl Iterator<Item = (&str, LevelFilter)> {
        let targets = self.targets.iter();
        targets.map(|(target, level)| (target.as_str(), *level))
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self {
            level: LevelFilter::INFO,
            targets: Vec::new(),
        }
    }
}

/// Why a text is no [`LogFilter`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{entry:?} is not allowed; use off, error, warn, info, debug or trace, or a list such as \
     \"info,telemetry_server::session=debug\""
)]
#[non_exhaustive]
pub struct LogFilterError {
    /// The entry that is wrong.
    pub entry: String,
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        let mut filter = Self::default();
        for entry in text.split(',').map(str::trim) {
            let wrong = || LogFilterError {
                entry: entry.to_owned(),
            };
            match entry.split_once('=') {
                None => filter.level = level(entry).ok_or_else(wrong)?,
                Some((target, word)) if is_target(target) => {
                    let level = level(word).ok_or_else(wrong)?;
                    filter.targets.push((target.to_owned(), level));
                }
                Some(_) => return Err(wrong()),
            }
        }
        Ok(filter)
    }
}

/// Words only: a number, which the library behind it takes as well, says nothing to a reader.
fn level(word: &str) -> Option<LevelFilter> {
    let is_word = word.bytes().all(|byte| byte.is_ascii_alphabetic());
    word.parse().ok().filter(|_| is_word && !word.is_empty())
}

fn is_target(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    !text.is_empty() && text.bytes().all(plain)
}

pub(super) fn read(section: &Section<'_>) -> Result<OwnLogSection, ConfigError> {
    let format = section.parsed("format", |word| match word {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!(
            "{word:?} is not allowed; it must be \"text\" or \"json\""
        )),
    })?;
    let level = section.parsed("level", str::parse::<LogFilter>)?;
    section.finish()?;
    Ok(OwnLogSection {
        format: format.unwrap_or_default(),
        level: level.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_is_a_level_and_targets() {
        let filter: LogFilter = "warn, telemetry_server::pool=debug,h2=off".parse().unwrap();
        assert_eq!(filter.level(), LevelFilter::WARN);
        let expected = [
            ("telemetry_server::pool", LevelFilter::DEBUG),
            ("h2", LevelFilter::OFF),
        ];
        assert!(filter.targets().eq(expected));
        let filter: LogFilter = "h2=trace".parse().unwrap();
        assert_eq!(filter.level(), LevelFilter::INFO);
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for text in [
            "inof", "", "info,", "3", "a b=info", "=info", "h2=loud", "h2=",
        ] {
            let error = text.parse::<LogFilter>().expect_err(text).to_string();
            assert!(error.contains("use off, error, warn, info"), "{error}");
        }
    }
}
