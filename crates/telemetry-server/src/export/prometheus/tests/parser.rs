//! A strict reader of OpenMetrics text: anything the specification does not allow is a panic.
//!
//! Small on purpose; it knows the three kinds of metrics that the exporter writes.

use std::collections::{BTreeMap, HashMap, HashSet};

/// Label names and values of one sample.
type Labels = BTreeMap<String, String>;

pub(super) struct Exposition {
    kinds: HashMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Exposition {
    /// Reads a whole exposition.
    #[track_caller]
    pub(super) fn parse(text: &str) -> Self {
        assert!(
            text.ends_with("\n# EOF\n") || text == "# EOF\n",
            "no end mark"
        );
        let mut kinds = HashMap::new();
        let mut seen = HashSet::new();
        let mut samples: Vec<(String, Labels, f64)> = Vec::new();
        let mut family = String::new();
        let lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
        let (end, lines) = lines.split_last().unwrap();
        assert_eq!(*end, "# EOF");
        for line in lines {
            assert!(
                !line.contains(|c: char| c.is_control()),
                "control character: {line:?}"
            );
            if let Some(comment) = line.strip_prefix("# ") {
                let (word, rest) = comment.split_once(' ').unwrap();
                let (name, rest) = rest.split_once(' ').unwrap();
                check_name(name, true);
                match word {
                    "HELP" => check_escapes(rest),
                    "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "unit: {line}"),
                    "TYPE" => {
                        assert!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                        assert!(rest != "counter" || !name.ends_with("_total"), "{line}");
                        let before = kinds.insert(name.to_owned(), rest.to_owned());
                        assert!(before.is_none(), "{name} twice");
                        family = name.to_owned();
                    }
                    _ => panic!("unknown word: {line}"),
                }
                continue;
            }
            let (name, labels, value) = sample(line);
            let suffix = name
                .strip_prefix(&family)
                .unwrap_or_else(|| panic!("stray: {line}"));
            match kinds[&family].as_str() {
                "counter" => assert_eq!(suffix, "_total", "{line}"),
                "gauge" => assert_eq!(suffix, "", "{line}"),
                _ => {
                    assert!(["_sum", "_count", "_bucket"].contains(&suffix), "{line}");
                    assert_eq!(suffix == "_bucket", labels.contains_key("le"), "{line}");
                }
            }
            if kinds[&family] != "gauge" {
                assert!(value >= 0.0 && value.is_finite(), "{line}");
            }
            assert!(seen.insert((name.clone(), labels.clone())), "twice: {line}");
            samples.push((name, labels, value));
        }
        let parsed = Self { kinds, samples };
        parsed.check_histograms();
        parsed
    }

    /// Buckets rise and the last one is the count.
    fn check_histograms(&self) {
        let mut last: HashMap<(String, Labels), (f64, f64)> = HashMap::new();
        for (name, labels, value) in &self.samples {
            let Some(family) = name.strip_suffix("_bucket") else {
                continue;
            };
            let mut labels = labels.clone();
            let le = match labels.remove("le").unwrap().as_str() {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().unwrap(),
            };
            let key = (family.to_owned(), labels);
            if let Some((bound, count)) = last.get(&key) {
                assert!(le > *bound && value >= count, "{name} falls at {le}");
            }
            last.insert(key, (le, *value));
        }
        for ((family, labels), (bound, count)) in last {
            assert_eq!(bound, f64::INFINITY);
            let total = self.samples(&format!("{family}_count"));
            let total = total.iter().find(|(other, _)| **other == labels).unwrap().1;
            assert_eq!(total, count, "{family}");
        }
    }

    pub(super) fn kind(&self, family: &str) -> Option<&str> {
        self.kinds.get(family).map(String::as_str)
    }

    pub(super) fn samples(&self, name: &str) -> Vec<(&Labels, f64)> {
        let same = self.samples.iter().filter(|(other, ..)| other == name);
        same.map(|(_, labels, value)| (labels, *value)).collect()
    }

    pub(super) fn sum(&self, name: &str) -> f64 {
        self.samples(name).iter().map(|(_, value)| value).sum()
    }

    /// The sample with exactly these labels.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let labels: Labels = labels.iter().map(owned).collect();
        self.samples(name)
            .iter()
            .find(|(other, _)| **other == labels)
            .map(|(_, value)| *value)
    }
}

fn check_name(name: &str, colon: bool) {
    let mut chars = name.chars();
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || (colon && c == ':');
    assert!(chars.next().is_some_and(first), "name {name:?}");
    assert!(
        chars.all(|c| first(c) || c.is_ascii_digit()),
        "name {name:?}"
    );
}

fn check_escapes(text: &str) {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            assert!(
                matches!(chars.next(), Some('\\' | 'n' | '"')),
                "escape in {text:?}"
            );
        }
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, rest) = line.split_at(end);
    check_name(name, true);
    let mut labels = Labels::new();
    let rest = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest, &mut labels),
        None => rest,
    };
    let value = rest
        .strip_prefix(' ')
        .unwrap_or_else(|| panic!("no value: {line}"));
    assert!(!value.contains(' '), "{line}");
    (name.to_owned(), labels, value.parse().unwrap())
}

/// Reads up to the closing brace; what follows it.
fn read_labels<'t>(mut rest: &'t str, labels: &mut Labels) -> &'t str {
    if let Some(rest) = rest.strip_prefix('}') {
        return rest;
    }
    loop {
        let (name, after) = rest.split_once("=\"").unwrap();
        check_name(name, false);
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("an open quote") {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().expect("an escape").1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    c => panic!("unknown escape {c:?}"),
                }),
                (_, c) => value.push(c),
            }
        };
        assert!(
            labels.insert(name.to_owned(), value).is_none(),
            "label {name} twice"
        );
        rest = &after[end + 1..];
        if let Some(rest) = rest.strip_prefix('}') {
            return rest;
        }
        rest = rest.strip_prefix(',').expect("a comma between labels");
    }
}
