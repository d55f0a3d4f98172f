//! Reads one table of the file key by key. The keys that were asked for are the known ones:
//! whatever else the table holds is refused, with the nearest of them.
//!
//! Knows TOML and types; knows no setting by name.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use serde_json::Value;
use telemetry_core::catalog::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Text};

type Result<T> = std::result::Result<T, ConfigError>;

/// One table of the file.
#[derive(Debug)]
pub(super) struct Section<'t> {
    text: Text<'t>,
    /// As the file writes it: `[http]`, `[[pool]]`, empty for the whole file.
    name: String,
    table: &'t DeTable<'t>,
    span: Range<usize>,
    /// Keys asked for so far.
    known: RefCell<Vec<&'static str>>,
}

impl<'t> Section<'t> {
    pub(super) fn whole(text: Text<'t>, file: &'t Spanned<DeTable<'t>>) -> Self {
        Self::new(text, String::new(), file.get_ref(), 0..0)
    }

    fn new(text: Text<'t>, name: String, table: &'t DeTable<'t>, span: Range<usize>) -> Self {
        Self {
            text,
            name,
            table,
            span,
            known: RefCell::default(),
        }
    }

    /// The table `key`, if there is one.
    pub(super) fn section(&self, key: &'static str) -> Result<Option<Section<'t>>> {
        self.value(key)
            .map(|value| self.as_section(key, value, format!("[{}]", self.path(key))))
            .transpose()
    }

    /// A switch that may be a table instead, which is on.
    pub(super) fn flag_or_section(&self, key: &'static str) -> Result<(bool, Option<Section<'t>>)> {
        let Some(value) = self.value(key) else {
            return Ok((false, None));
        };
        match value.get_ref() {
            DeValue::Boolean(is_on) => Ok((*is_on, None)),
            DeValue::Table(_) => Ok((true, self.section(key)?)),
            _ => Err(self.wrong_type(key, value, "true, false or a table")),
        }
    }

    /// The array of tables `key`; empty when absent.
    pub(super) fn sections(&self, key: &'static str) -> Result<Vec<Section<'t>>> {
        let Some(value) = self.value(key) else {
            return Ok(Vec::new());
        };
        let name = format!("[[{}]]", self.path(key));
        let wrong = || self.wrong_type(key, value, &format!("tables; begin each with {name}"));
        let array = value.get_ref().as_array().ok_or_else(wrong)?;
        array
            .iter()
            .map(|entry| self.as_section(key, entry, name.clone()))
            .collect()
    }

    /// All entries of a table whose keys the user chooses, each a table itself.
    pub(super) fn entries(&self) -> Result<Vec<(&'t str, Section<'t>)>> {
        let entry = |(key, value): (&'t Spanned<_>, &'t Spanned<DeValue<'t>>)| {
            let key: &'t std::borrow::Cow<'t, str> = key.get_ref();
            Ok((
                &**key,
                self.as_section(key, value, format!("[{}]", self.path(&format!("{key:?}"))))?,
            ))
        };
        self.table.iter().map(entry).collect()
    }

    pub(super) fn text(&self, key: &'static str) -> Result<Option<String>> {
        self.typed(key, "text in quotes", |value| {
            value.as_str().map(str::to_owned)
        })
    }

    pub(super) fn required(&self, key: &'static str) -> Result<String> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn flag(&self, key: &'static str) -> Result<Option<bool>> {
        self.typed(key, "true or false", DeValue::as_bool)
    }

    /// A whole number within `allowed`.
    pub(super) fn whole_number(
        &self,
        key: &'static str,
        allowed: RangeInclusive<usize>,
    ) -> Result<Option<usize>> {
        let wanted = format!(
            "a whole number from {} to {}",
            allowed.start(),
            allowed.end()
        );
        self.typed(key, &wanted, |value| {
            let number = value.as_integer()?;
            let digits = number.as_str().replace('_', "");
            usize::from_str_radix(&digits, number.radix())
                .ok()
                .filter(|n| allowed.contains(n))
        })
    }

    /// A number within `allowed`, with or without a fraction.
    pub(super) fn number(
        &self,
        key: &'static str,
        allowed: RangeInclusive<f64>,
    ) -> Result<Option<f64>> {
        let wanted = format!("a number from {} to {}", allowed.start(), allowed.end());
        self.typed(key, &wanted, |value| {
            number_of(value).filter(|number| allowed.contains(number))
        })
    }

    /// A list of numbers.
    pub(super) fn numbers(&self, key: &'static str) -> Result<Option<Vec<f64>>> {
        self.typed(key, "a list of numbers, e.g. [0.5, 1]", |value| {
            let items = value.as_array()?.iter();
            items.map(|item| number_of(item.get_ref())).collect()
        })
    }

    pub(super) fn duration(&self, key: &'static str) -> Result<Option<Duration>> {
        self.typed(key, telemetry_core::DURATION_FORM, |value| {
            value.as_str().and_then(telemetry_core::parse_duration)
        })
    }

    pub(super) fn list(&self, key: &'static str) -> Result<Option<Vec<String>>> {
        self.typed(key, "a list of texts, e.g. [\"a\", \"b\"]", |value| {
            value
                .as_array()?
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect()
        })
    }

    /// A list of texts that `parse` understands; the error says which one it does not, at its place.
    pub(super) fn parsed_list<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> std::result::Result<T, E>,
    ) -> Result<Option<Vec<T>>> {
        let Some(texts) = self.list(key)? else {
            return Ok(None);
        };
        let array = self.value(key).and_then(|value| value.get_ref().as_array());
        let places = array.into_iter().flatten().map(Spanned::span);
        let parsed = texts.iter().zip(places).map(|(text, place)| {
            parse(text).map_err(|problem| {
                let problem = format!("{}: {problem}", self.path(key));
                self.text.error(&place, problem)
            })
        });
        parsed.collect::<Result<_>>().map(Some)
    }

    /// The same of one text alone or a list.
    pub(super) fn parsed_list_or_one<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> std::result::Result<T, E>,
    ) -> Result<Option<Vec<T>>> {
        let value = self.value(key);
        if value.is_some_and(|value| value.get_ref().as_array().is_some()) {
            return self.parsed_list(key, parse);
        }
        Ok(self.parsed(key, parse)?.map(|one| vec![one]))
    }

    /// A table of texts, as pairs in the order of their keys.
    pub(super) fn texts(&self, key: &'static str) -> Result<Option<Vec<(String, String)>>> {
        self.typed(key, "a table of texts, e.g. { A = \"1\" }", |value| {
            let pair =
                |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
                    Some((
                        key.get_ref().to_string(),
                        value.get_ref().as_str()?.to_owned(),
                    ))
                };
            value.as_table()?.iter().map(pair).collect()
        })
    }

    /// A text that `parse` understands; the error says what is wrong with it.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> std::result::Result<T, E>,
    ) -> Result<Option<T>> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        parse(&text)
            .map(Some)
            .map_err(|problem| self.invalid(key, problem.to_string()))
    }

    /// An error about the value of `key`.
    pub(super) fn invalid(
        &self,
        key: &'static str,
        problem: impl std::fmt::Display,
    ) -> ConfigError {
        let span = self
            .value(key)
            .map_or_else(|| self.span.clone(), Spanned::span);
        self.text
            .error(&span, format!("{}: {problem}", self.path(key)))
    }

    /// The whole table, for who reads it by himself: all its keys count as asked for.
    pub(super) fn json(&self) -> Value {
        table_json(self.table)
    }

    /// An error about what is at a key that need not be there.
    pub(super) fn refuse_at(&self, key: &str, problem: impl std::fmt::Display) -> ConfigError {
        let key = self.table.keys().find(|it| it.get_ref() == key);
        let span = key.map_or_else(|| self.span.clone(), Spanned::span);
        self.text.error(&span, problem.to_string())
    }

    /// An error about the section as a whole.
    pub(super) fn refuse(&self, problem: impl std::fmt::Display) -> ConfigError {
        self.text.error(&self.span, problem.to_string())
    }

    pub(super) fn missing(&self, key: &'static str) -> ConfigError {
        self.text
            .error(&self.span, format!("{} needs the key {key:?}", self.name))
    }

    /// Refuses keys that nobody asked for.
    pub(super) fn finish(&self) -> Result<()> {
        let known = self.known.borrow();
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let place = if self.name.is_empty() {
                String::new()
            } else {
                format!(" in {}", self.name)
            };
            let meant = nearest(name, known.iter().copied())
                .map(|known| format!("; did you mean {known:?}?"))
                .unwrap_or_default();
            let mut allowed = known.clone();
            allowed.sort_unstable();
            return Err(self.text.error(
                &key.span(),
                format!(
                    "unknown key {name:?}{place}{meant} (known: {})",
                    allowed.join(", ")
                ),
            ));
        }
        Ok(())
    }

    fn value(&self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        if !self.known.borrow().contains(&key) {
            self.known.borrow_mut().push(key);
        }
        self.table
            .iter()
            .find(|(name, _)| name.get_ref() == key)
            .map(|(_, value)| value)
    }

    fn typed<T>(
        &self,
        key: &'static str,
        wanted: &str,
        convert: impl FnOnce(&DeValue<'t>) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        convert(value.get_ref())
            .map(Some)
            .ok_or_else(|| self.wrong_type(key, value, wanted))
    }

    fn as_section(
        &self,
        key: &str,
        value: &'t Spanned<DeValue<'t>>,
        name: String,
    ) -> Result<Section<'t>> {
        match value.get_ref().as_table() {
            Some(table) => Ok(Section::new(self.text, name, table, value.span())),
            None => Err(self.wrong_type(key, value, "a table")),
        }
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) -> ConfigError {
        let written = self.text.content.get(value.span()).unwrap_or_default();
        let written: String = written.chars().take(40).collect();
        self.text.error(
            &value.span(),
            format!(
                "{} = {written} is not allowed; it must be {wanted}",
                self.path(key)
            ),
        )
    }

    /// `http.listen` for the key `listen` in `[http]`.
    fn path(&self, key: &str) -> String {
        let name = self.name.trim_matches(['[', ']']);
        if name.is_empty() {
            key.to_owned()
        } else {
            format!("{name}.{key}")
        }
    }
}

/// A number with or without a fraction.
fn number_of(value: &DeValue<'_>) -> Option<f64> {
    let written = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        _ => return None,
    };
    written.replace('_', "").parse().ok()
}

fn table_json(table: &DeTable<'_>) -> Value {
    let entries = table.iter();
    entries
        .map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())))
        .collect()
}

/// A value of TOML as one of JSON; a number that JSON does not have is none, a time is text.
fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(is_on) => Value::Bool(*is_on),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            i64::from_str_radix(&digits, number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => {
            let number = number.as_str().replace('_', "").parse::<f64>();
            number.map_or(Value::Null, Value::from)
        }
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(values) => values.iter().map(|value| json(value.get_ref())).collect(),
        DeValue::Table(table) => table_json(table),
    }
}
