//! What is between two texts of a public API, and how far it takes the version.
//!
//! Works on lines alone. A line that is gone breaks somebody, and so does one that changed, unless it
//! only allows more. A new line breaks nobody but in three places: a variant of an enum that is not
//! `#[non_exhaustive]`, a field of a struct that a user may write out, a required function of a trait.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    api::{REQUIRED, WRITABLE},
    version::Step,
};

/// The lines that are not in both texts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Items that are gone.
    pub(crate) removed: Vec<String>,
    /// Items that are not what they were: before, now.
    pub(crate) changed: Vec<(String, String)>,
    /// New items that break who has what is old.
    pub(crate) breaking: Vec<String>,
    /// New items that break nobody, and old ones that allow more than they did.
    pub(crate) added: Vec<String>,
}

impl Difference {
    /// What makes `now` of `before`.
    pub(crate) fn between(before: &str, now: &str) -> Self {
        let before: BTreeSet<&str> = before.lines().collect();
        let now: BTreeSet<&str> = now.lines().collect();
        let mut added_by_item: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for line in now.difference(&before) {
            added_by_item.entry(item(line)).or_default().push(line);
        }

        let mut difference = Self::default();
        for line in before.difference(&now) {
            match added_by_item.get_mut(&item(line)).and_then(Vec::pop) {
                Some(new) if is_loosened(line, new) => difference.added.push(new.to_owned()),
                Some(new) => difference
                    .changed
                    .push(((*line).to_owned(), new.to_owned())),
                None => difference.removed.push((*line).to_owned()),
            }
        }
        for line in added_by_item.into_values().flatten() {
            let breaks = line.ends_with(REQUIRED) && is_in_old(line, &before, "trait")
                || is_in_closed(line, &before);
            if breaks {
                difference.breaking.push(line.to_owned());
            } else {
                difference.added.push(line.to_owned());
            }
        }
        difference.added.sort();
        difference
    }

    /// How far it takes the version. A text that is the same says nothing about what is behind it.
    pub(crate) fn step(&self) -> Step {
        if !(self.removed.is_empty() && self.changed.is_empty() && self.breaking.is_empty()) {
            Step::Breaking
        } else if self.added.is_empty() {
            Step::Nothing
        } else {
            Step::Addition
        }
    }

    /// What breaks a user, one sentence for each.
    pub(crate) fn breakages(&self) -> Vec<String> {
        let removed = self.removed.iter().map(|line| format!("`{line}` is gone"));
        let changed = self
            .changed
            .iter()
            .map(|(before, now)| format!("`{before}` became `{now}`"));
        let breaking = self
            .breaking
            .iter()
            .map(|line| format!("`{line}` is new where nothing new may be"));
        removed.chain(changed).chain(breaking).collect()
    }
}

/// What a line is about: its kind and path, without generics and signature. Two lines about one item are
/// its states before and after. An `impl` is about nothing but itself.
fn item(line: &str) -> String {
    let line = bare(line);
    if line.starts_with("impl") {
        return line.to_owned();
    }
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let mut rest = match line.strip_prefix("const ") {
        // That it became usable in constants does not make it another function.
        Some(function) if function.contains("fn ") => function,
        _ => line,
    };
    let mut item = String::new();
    // A path goes on at `::`; it ends where arguments, a type or a value begin.
    while let Some(end) = rest.find(['<', '(', ':', '=']) {
        item.push_str(&rest[..end]);
        rest = &rest[end..];
        if rest.starts_with('<') {
            rest = behind_generics(rest);
        }
        let Some(further) = rest.strip_prefix("::") else {
            return item.trim_end().to_owned();
        };
        item.push_str("::");
        rest = further;
    }
    item.push_str(rest);
    item
}

/// What stands behind the generics that `text` begins with.
fn behind_generics(text: &str) -> &str {
    let mut depth = 0_u32;
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        match letter {
            '<' => depth += 1,
            // Not the head of an arrow.
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[at + 1..];
        }
        before = letter;
    }
    ""
}

/// A line without attributes and remarks.
fn bare(line: &str) -> &str {
    let line = line.split(" // ").next().unwrap_or(line);
    match line.rfind("] pub ") {
        Some(at) if line.starts_with("#[") => &line[at + 2..],
        _ => line,
    }
}

/// The path of what an item is in.
fn parent(line: &str) -> String {
    let item = item(line);
    let path = item.rsplit(' ').next().unwrap_or_default();
    let parent = path.rsplit_once("::").map_or("", |(parent, _)| parent);
    parent.to_owned()
}

/// Whether `line` is of something in a `kind` that was there before.
fn is_in_old(line: &str, before: &BTreeSet<&str>, kind: &str) -> bool {
    let holder = format!("{kind} {}", parent(line));
    before.iter().any(|old| item(old) == holder)
}

/// Whether `line` is a variant of an old enum, or a field of an old variant or struct, that users rely on to have
/// no more of them.
fn is_in_closed(line: &str, before: &BTreeSet<&str>) -> bool {
    // Variants and fields are the items without a word for their kind.
    if line.starts_with("impl") || item(line).contains(' ') {
        return false;
    }
    let of = |kind: &str| format!("{kind} {}", parent(line));
    let (an_enum, a_struct, a_variant) = (of("enum"), of("struct"), parent(line));
    before.iter().any(|old| {
        let is_open = old.starts_with("#[non_exhaustive]");
        let holder = item(old);
        let is_writable = holder == a_struct && old.ends_with(WRITABLE);
        !is_open && (holder == an_enum || holder == a_variant || is_writable)
    })
}

/// Whether a changed line allows all that it did, and more.
fn is_loosened(before: &str, now: &str) -> bool {
    before.strip_prefix("#[non_exhaustive] ") == Some(now)
        || before.strip_suffix(REQUIRED) == Some(now)
        || now.strip_suffix(WRITABLE) == Some(before)
        || now.replacen("const fn ", "fn ", 1) == before
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
#[non_exhaustive] pub enum a::Open
feature http
impl core::marker::Send for a::Config
pub a::Closed::One
pub a::Config::size: usize
pub a::Hidden::seen: u8
pub enum a::Closed
pub fn a::Config::new(size: usize) -> Self
pub fn a::Watch::seen(&self, at: u64) // required
pub struct a::Config // all fields are public
pub struct a::Hidden
pub struct a::Log // unit
pub trait a::Watch
";

    /// Changes the text as `change` says: `-` before a line takes it out, `+` puts it in.
    fn check(change: &[&str], step: Step, breakages: &[&str]) {
        let mut now: BTreeSet<&str> = BEFORE.lines().collect();
        for line in change {
            match line.split_at(1) {
                ("-", line) => assert!(now.remove(line), "{line} is not there"),
                (_, line) => assert!(now.insert(line), "{line} is there already"),
            }
        }
        let now: String = now.into_iter().map(|line| format!("{line}\n")).collect();
        let difference = Difference::between(BEFORE, &now);
        assert_eq!(difference.breakages(), breakages);
        assert_eq!(difference.step(), step, "{difference:?}");
    }

    #[test]
    fn the_same_text_is_no_step() {
        check(&[], Step::Nothing, &[]);
    }

    #[test]
    fn a_new_item_is_an_addition() {
        check(&["+pub fn a::later()"], Step::Addition, &[]);
        check(&["+pub a::Open::Two"], Step::Addition, &[]);
        check(&["+pub a::Hidden::more: u8"], Step::Addition, &[]);
        check(&["+pub fn a::Watch::gone(&self)"], Step::Addition, &[]);
        check(
            &["+impl core::clone::Clone for a::Config"],
            Step::Addition,
            &[],
        );
    }

    #[test]
    fn an_item_that_is_gone_is_breaking_and_named() {
        check(
            &["-impl core::marker::Send for a::Config"],
            Step::Breaking,
            &["`impl core::marker::Send for a::Config` is gone"],
        );
    }

    #[test]
    fn a_feature_that_is_gone_is_breaking_and_a_new_one_is_an_addition() {
        check(
            &["-feature http"],
            Step::Breaking,
            &["`feature http` is gone"],
        );
        check(&["+feature tls"], Step::Addition, &[]);
    }

    #[test]
    fn a_struct_that_is_no_value_any_more_is_breaking() {
        check(
            &["-pub struct a::Log // unit", "+pub struct a::Log"],
            Step::Breaking,
            &["`pub struct a::Log // unit` became `pub struct a::Log`"],
        );
        check(
            &[
                "-pub struct a::Log // unit",
                "+pub struct a::Log // all fields are public",
            ],
            Step::Breaking,
            &["`pub struct a::Log // unit` became `pub struct a::Log // all fields are public`"],
        );
    }

    #[test]
    fn another_signature_is_breaking_and_both_are_named() {
        check(
            &[
                "-pub fn a::Config::new(size: usize) -> Self",
                "+pub fn a::Config::new(size: u32) -> Self",
            ],
            Step::Breaking,
            &["`pub fn a::Config::new(size: usize) -> Self` became \
               `pub fn a::Config::new(size: u32) -> Self`"],
        );
        check(
            &["-pub a::Config::size: usize", "+pub a::Config::size: u64"],
            Step::Breaking,
            &["`pub a::Config::size: usize` became `pub a::Config::size: u64`"],
        );
    }

    #[test]
    fn what_is_new_where_users_rely_on_nothing_new_is_breaking() {
        for line in [
            "pub a::Closed::Two(u8)",
            "pub a::Closed::One::size: u8",
            "pub a::Config::limit: u8",
            "pub fn a::Watch::lost(&self) // required",
        ] {
            let told = format!("`{line}` is new where nothing new may be");
            check(&[&format!("+{line}")], Step::Breaking, &[&told]);
        }
    }

    #[test]
    fn a_new_enum_brings_its_variants_and_breaks_nobody() {
        check(
            &["+pub enum a::Later", "+pub a::Later::One"],
            Step::Addition,
            &[],
        );
    }

    #[test]
    fn what_allows_more_than_before_breaks_nobody() {
        let pairs = [
            ("#[non_exhaustive] pub enum a::Open", "pub enum a::Open"),
            (
                "pub fn a::Watch::seen(&self, at: u64) // required",
                "pub fn a::Watch::seen(&self, at: u64)",
            ),
            (
                "pub fn a::Config::new(size: usize) -> Self",
                "pub const fn a::Config::new(size: usize) -> Self",
            ),
            (
                "pub struct a::Hidden",
                "pub struct a::Hidden // all fields are public",
            ),
        ];
        for (before, now) in pairs {
            let change = [format!("-{before}"), format!("+{now}")];
            check(&[&change[0], &change[1]], Step::Addition, &[]);
        }
        let back = [
            "-pub struct a::Config // all fields are public",
            "+pub struct a::Config",
        ];
        check(
            &back,
            Step::Breaking,
            &["`pub struct a::Config // all fields are public` became `pub struct a::Config`"],
        );
    }

    #[test]
    fn a_line_is_about_its_kind_and_path() {
        assert_eq!(item("pub const fn a::B::c(&self) -> u8"), "fn a::B::c");
        assert_eq!(item("pub const a::B: u8"), "const a::B");
        assert_eq!(item("pub a::B::c: core::option::Option<u8>"), "a::B::c");
        assert_eq!(
            item("pub struct a::B<T: core::marker::Copy>"),
            "struct a::B"
        );
        assert_eq!(item("#[non_exhaustive] pub enum a::B"), "enum a::B");
        assert_eq!(item("pub type a::B = u8"), "type a::B");
        assert_eq!(
            item("pub fn a::B<'a>::c<F: Fn() -> u8>(&self)"),
            "fn a::B::c"
        );
        assert_eq!(item("pub a::B<'a>::c: &'a str"), "a::B::c");
        assert_eq!(parent("pub a::B<'a>::c: &'a str"), "a::B");
    }
}
