//! A page of a list: which rows, in which order, from where on.
//!
//! The place in a list is the name of the last row of the page before, so that nothing is kept between two pages.

use std::cmp::Ordering;

use telemetry_core::catalog::{Pattern, escape, nearest};

use super::List;

/// Rows of a page, unless it is said how many.
pub const DEFAULT_LIMIT: usize = 200;

/// Most rows of a page.
pub const MAX_LIMIT: usize = 1_000;

/// What can be in a list.
pub(crate) trait Row {
    /// What the list can be sorted by; the first is the name.
    const SORTS: &'static [&'static str];

    /// Its name, which no other one in the list has.
    fn name(&self) -> &str;

    /// Another name that it is found by.
    fn other_name(&self) -> Option<&str> {
        None
    }

    /// What it is sorted by, if that is not its name.
    fn number(&self, sort: &str) -> u64;
}

/// What is asked of a list.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Asked {
    /// Rows of the page, 1 to [`MAX_LIMIT`]; [`DEFAULT_LIMIT`] if it is not said.
    pub limit: Option<usize>,
    /// The `next` of the page before.
    pub after: Option<String>,
    /// What to sort by, with a `-` in front for the largest first; the name if it is not said.
    pub sort: Option<String>,
    /// Which names; all if it is not said.
    pub pattern: Option<Pattern>,
}

/// Why there is no such page.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// There are no such pages.
    #[error(
        "limit: {limit} is not allowed; 1 to {MAX_LIMIT} are, and {DEFAULT_LIMIT} is the default"
    )]
    Limit {
        /// What was asked for.
        limit: usize,
    },
    /// It cannot be sorted so.
    #[error("sort: {sort:?} is not allowed; use {}, with a - in front for the largest first", allowed.join(", "))]
    Sort {
        /// What was asked for.
        sort: String,
        /// What there is.
        allowed: &'static [&'static str],
    },
    /// Where the page begins is not in the list.
    #[error("after: {after:?} is not in the list any more; begin again without it")]
    Gone {
        /// What was asked for.
        after: String,
    },
}

impl Asked {
    /// What to sort by, and whether the largest comes first.
    pub(crate) fn sort(&self, allowed: &'static [&'static str]) -> Result<(&str, bool), PageError> {
        let Some(sort) = &self.sort else {
            return Ok((allowed[0], false));
        };
        let (key, is_reversed) = match sort.strip_prefix('-') {
            Some(key) => (key, true),
            None => (sort.as_str(), false),
        };
        match allowed.contains(&key) {
            true => Ok((key, is_reversed)),
            false => Err(PageError::Sort {
                sort: escape(sort).into_owned(),
                allowed,
            }),
        }
    }

    /// How many rows.
    pub(crate) fn limit(&self) -> Result<usize, PageError> {
        match self.limit {
            None => Ok(DEFAULT_LIMIT),
            Some(limit @ 1..=MAX_LIMIT) => Ok(limit),
            Some(limit) => Err(PageError::Limit { limit }),
        }
    }

    /// Whether these names, of which the second may be missing, are asked for. A pattern may be written over either,
    /// with or without the first words of event names.
    pub(crate) fn wants(&self, name: &str, other: Option<&str>) -> bool {
        let Some(pattern) = &self.pattern else {
            return true;
        };
        let short = name.strip_prefix("snakepit.");
        let shorter = short.and_then(|name| name.strip_prefix("python."));
        let names = [Some(name), other, short, shorter];
        names
            .into_iter()
            .flatten()
            .any(|name| pattern.matches(name))
    }

    /// Which of the keys are on the page, and whether there are more. Keys are names and what they are sorted by.
    pub(crate) fn places(
        &self,
        keys: &[(&str, u64)],
        is_by_name: bool,
        is_reversed: bool,
    ) -> Result<(Vec<usize>, bool), PageError> {
        let order = |a: (&str, u64), b: (&str, u64)| {
            let numbers = if is_by_name {
                Ordering::Equal
            } else {
                a.1.cmp(&b.1)
            };
            let order = numbers.then_with(|| natural(a.0, b.0));
            if is_reversed { order.reverse() } else { order }
        };
        let limit = self.limit()?;
        let mut places: Vec<usize> = (0..keys.len()).collect();
        if let Some(after) = &self.after {
            let number = keys.iter().find(|key| key.0 == after).map(|key| key.1);
            if number.is_none() && !is_by_name {
                let after = escape(after).into_owned();
                return Err(PageError::Gone { after });
            }
            let last = (after.as_str(), number.unwrap_or(0));
            places.retain(|&place| order(keys[place], last).is_gt());
        }
        let by_key = |a: &usize, b: &usize| order(keys[*a], keys[*b]);
        let has_more = places.len() > limit;
        if has_more {
            // Only what is on the page has to be in order.
            places.select_nth_unstable_by(limit, by_key);
            places.truncate(limit);
        }
        places.sort_unstable_by(by_key);
        Ok((places, has_more))
    }
}

/// The page of these rows that is asked for.
pub(crate) fn page<T: Row>(rows: Vec<T>, asked: &Asked) -> Result<List<T>, PageError> {
    let (sort, is_reversed) = asked.sort(T::SORTS)?;
    let wanted = |row: &T| asked.wants(row.name(), row.other_name());
    let mut rows: Vec<Option<T>> = rows.into_iter().filter(wanted).map(Some).collect();
    let is_by_name = sort == T::SORTS[0];
    let key = |row: &T| if is_by_name { 0 } else { row.number(sort) };
    let keys = rows.iter().flatten().map(|row| (row.name(), key(row)));
    let keys: Vec<(&str, u64)> = keys.collect();
    let (places, has_more) = asked.places(&keys, is_by_name, is_reversed)?;
    let total = rows.len();
    let items: Vec<T> = places
        .iter()
        .filter_map(|&place| rows[place].take())
        .collect();
    let last = items.last().filter(|_| has_more);
    let next = last.map(|row| row.name().to_owned());
    Ok(List { items, total, next })
}

/// What a person may write who means this name, of which there may be another one: either, with or without the first
/// words of event names.
pub(crate) fn spoken<'a>(name: &'a str, other: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let short = name.strip_prefix("snakepit.");
    let shorter = short.and_then(|name| name.strip_prefix("python."));
    [Some(name), other, short, shorter].into_iter().flatten()
}

/// The order of names that people expect: numbers in them count as numbers, `w-2` before `w-10`.
#[must_use]
pub fn natural(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one.as_bytes(), other.as_bytes());
    loop {
        let order = match (left, right) {
            ([], []) => return one.cmp(other),
            ([a, ..], [b, ..]) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let (a, b) = (number(&mut left), number(&mut right));
                a.len().cmp(&b.len()).then_with(|| a.cmp(b))
            }
            ([a, left_rest @ ..], [b, right_rest @ ..]) => {
                (left, right) = (left_rest, right_rest);
                a.cmp(b)
            }
            (left, right) => left.len().cmp(&right.len()),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Takes the digits of a number, without zeros in front.
fn number<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    *bytes = rest;
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

/// The allowed word that was probably meant, as the end of a sentence.
pub(crate) fn did_you_mean<'a>(given: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
    let meant = nearest(given, allowed);
    meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str, u64);

    impl Row for Named {
        const SORTS: &'static [&'static str] = &["name", "count"];

        fn name(&self) -> &str {
            self.0
        }

        fn number(&self, _sort: &str) -> u64 {
            self.1
        }
    }

    fn rows() -> Vec<Named> {
        let rows = [
            ("w-10", 1),
            ("w-2", 5),
            ("w-1", 5),
            ("gpu-1", 9),
            ("w-02", 0),
        ];
        rows.map(|(name, count)| Named(name, count)).into()
    }

    fn names(asked: &Asked) -> (Vec<&'static str>, Option<String>) {
        let list = page(rows(), asked).unwrap();
        (list.items.iter().map(|row| row.0).collect(), list.next)
    }

    fn asked(sort: &str, limit: usize, after: Option<&str>) -> Asked {
        Asked {
            limit: Some(limit),
            after: after.map(str::to_owned),
            sort: Some(sort.to_owned()),
            pattern: None,
        }
    }

    #[test]
    fn names_come_in_the_order_that_people_expect() {
        let (all, next) = names(&Asked::default());
        assert_eq!(all, ["gpu-1", "w-1", "w-02", "w-2", "w-10"]);
        assert_eq!(next, None);
        let big = ["a99999999999999999999999", "a100000000000000000000000"];
        assert_eq!(natural(big[0], big[1]), Ordering::Less);
        assert_eq!(natural("a", "a1"), Ordering::Less);
        assert_eq!(natural("a1b2", "a1b10"), Ordering::Less);
        assert_eq!(natural("x", "x"), Ordering::Equal);
    }

    #[test]
    fn pages_follow_each_other_without_a_gap_in_every_order() {
        for sort in ["name", "-name", "count", "-count"] {
            let (whole, _) = names(&asked(sort, 1_000, None));
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let (items, next) = names(&asked(sort, 2, after.as_deref()));
                assert!(items.len() <= 2 && !items.is_empty(), "{sort}");
                seen.extend(items);
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, whole, "{sort}");
        }
        let (by_count, _) = names(&asked("-count", 1_000, None));
        assert_eq!(by_count, ["gpu-1", "w-2", "w-1", "w-10", "w-02"]);
    }

    #[test]
    fn a_row_that_went_between_two_pages_by_name_breaks_nothing() {
        let (items, _) = names(&asked("name", 2, Some("w-1x")));
        assert_eq!(items, ["w-02", "w-2"]);
        let error = page(rows(), &asked("count", 2, Some("w-1x"))).err();
        let error = error.expect("it is gone").to_string();
        assert!(
            error.contains("\"w-1x\" is not in the list any more"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_what_can() {
        let error = page(rows(), &asked("size", 2, None))
            .err()
            .map(|it| it.to_string());
        assert_eq!(
            error.as_deref(),
            Some(
                "sort: \"size\" is not allowed; use name, count, with a - in front for the largest first"
            )
        );
        for limit in [0, MAX_LIMIT + 1] {
            let error = page(rows(), &asked("name", limit, None)).err();
            assert_eq!(error, Some(PageError::Limit { limit }));
        }
    }

    #[test]
    fn a_pattern_is_over_any_name_that_a_person_writes() {
        let asked = |pattern| Asked {
            pattern: Some(Pattern::new(pattern).unwrap()),
            ..Asked::default()
        };
        let name = "snakepit.python.tool.execution.stop";
        for pattern in ["tool.*", "python.tool.*", "snakepit.python.tool.*", "*"] {
            assert!(
                asked(pattern).wants(name, Some("tool.execution.stop")),
                "{pattern}"
            );
        }
        assert!(!asked("call.*").wants(name, Some("tool.execution.stop")));
    }
}
