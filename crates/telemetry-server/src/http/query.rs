//! What is asked behind the `?`: known parameters, each once, and nothing else.

use percent_encoding::percent_decode_str;
use telemetry_core::catalog::{Pattern, escape};

use super::answer::Problem;
use crate::api::{Asked, did_you_mean};

/// The one parameter that may be there more than once.
const MANY: &str = "where";

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(&'static str, String)>,
}

impl Query {
    /// Reads the query of a route that understands these parameters.
    pub(super) fn parse(query: &str, allowed: &'static [&'static str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(&'static str, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name);
            let Some(known) = allowed.iter().find(|known| **known == name) else {
                let hint = did_you_mean(&name, allowed.iter().copied());
                let allowed = match allowed {
                    [] => "none is allowed here".to_owned(),
                    some => format!("allowed: {}", some.join(", ")),
                };
                let name = escape(&name);
                let what = format!("unknown query parameter \"{name}\"; {allowed}{hint}");
                return Err(Problem::asked(what));
            };
            if *known != MANY && pairs.iter().any(|(name, _)| name == known) {
                let what = format!("{known} is there twice; give it once");
                return Err(Problem::asked(what));
            }
            pairs.push((known, decoded(value)));
        }
        Ok(Self { pairs })
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.pairs.iter().filter(move |(known, _)| *known == name);
        named.map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that is a pattern.
    pub(super) fn pattern(&self, name: &str) -> Result<Option<Pattern>, Problem> {
        let pattern = self.get(name).map(Pattern::new).transpose();
        pattern.map_err(|error| Problem::asked(format!("{name}: {error}")))
    }

    /// What is asked of a list.
    pub(super) fn asked(&self) -> Result<Asked, Problem> {
        let limit = self.get("limit").map(str::parse).transpose();
        let limit = limit.map_err(|_| {
            let given = escape(self.get("limit").unwrap_or_default()).into_owned();
            Problem::asked(format!("limit: \"{given}\" is no number of rows"))
        })?;
        Ok(Asked {
            limit,
            after: self.get("after").map(str::to_owned),
            sort: self.get("sort").map(str::to_owned),
            pattern: self.pattern("match")?,
        })
    }
}

/// A word of a query as it was meant.
fn decoded(word: &str) -> String {
    let word = word.replace('+', " ");
    percent_decode_str(&word).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: &[&str] = &["limit", "match", "where"];

    fn refused(query: &str) -> String {
        Query::parse(query, ALLOWED)
            .and_then(|it| it.asked())
            .expect_err(query)
            .1
    }

    #[test]
    fn words_are_read_as_they_were_meant() {
        let query = Query::parse("match=a%2Ab+c&&where=a=b&where=c", ALLOWED).unwrap();
        assert_eq!(query.get("match"), Some("a*b c"));
        assert_eq!(query.all("where").collect::<Vec<_>>(), ["a=b", "c"]);
        assert_eq!(query.get("limit"), None);
    }

    #[test]
    fn what_is_not_known_is_named_with_what_is() {
        assert_eq!(
            refused("limt=5"),
            "unknown query parameter \"limt\"; allowed: limit, match, where; did you mean \"limit\"?"
        );
        assert_eq!(
            refused("limit=1&limit=2"),
            "limit is there twice; give it once"
        );
        assert!(refused("limit=many").contains("\"many\" is no number of rows"));
        assert!(refused("match=%5B").contains("no valid glob"));
        let none = Query::parse("x\u{1b}=1", &[]).expect_err("none").1;
        assert_eq!(
            none,
            "unknown query parameter \"x\\u{001B}\"; none is allowed here"
        );
    }
}
