//! What all commands have in common that look at a running manager: how it is asked, and how rows become a table.
//!
//! As JSON a command prints one object with a `version`; lists are fetched page by page and shown whole.

use std::io::{self, IsTerminal, Write};

use clap::Args;
use serde_json::{Value, json};

use crate::api::{Api, block_on};
use crate::failure::Failure;
use crate::running::Running;
use crate::show;

/// Rows that are asked for at once; the most that a manager gives.
const PAGE: usize = 1_000;
/// Columns of a terminal that does not say how many it has.
const WIDTH: usize = 80;

/// Which manager, and in which form.
#[derive(Debug, Args)]
pub(crate) struct Look {
    #[command(flatten)]
    pub(crate) manager: Running,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A column of a table.
pub(crate) struct Column {
    pub(crate) heading: &'static str,
    /// What it shows of a row.
    pub(crate) shown: fn(&Value) -> String,
    /// What of it is added up below the table, if it is.
    pub(crate) sum: Option<fn(&Value) -> u64>,
    /// Whether it is left out first where the terminal is too narrow: the highest goes first, 0 never.
    pub(crate) spare: u8,
}

/// One that is never left out and not added up.
pub(crate) const fn column(heading: &'static str, shown: fn(&Value) -> String) -> Column {
    Column {
        heading,
        shown,
        sum: None,
        spare: 0,
    }
}

impl Look {
    /// What the manager says there.
    pub(crate) fn ask(&self, path: &str) -> Result<Value, Failure> {
        let api = Api::of(&self.manager)?;
        block_on(api.json(path))
    }

    /// All rows that the manager has there; a query may be part of the path.
    pub(crate) fn all(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let api = Api::of(&self.manager)?;
        let mut rows = Vec::new();
        let mut after = String::new();
        let sign = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = format!("{path}{sign}limit={PAGE}{after}");
            let mut page = block_on(api.json(&page))?;
            let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) else {
                let what = format!("what answered at {path} has no list; is it a manager?");
                return Err(Failure::Failed(what));
            };
            rows.extend(items);
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", crate::api::query_value(next)),
                None => return Ok(rows),
            }
        }
    }

    /// Prints rows as a table, or as JSON.
    pub(crate) fn print(
        &self,
        rows: &[Value],
        nobody: &str,
        columns: &[Column],
    ) -> Result<(), Failure> {
        if self.json {
            return print_json(json!({ "items": rows, "total": rows.len() }));
        }
        let text = match rows {
            [] => format!("{nobody}\n"),
            rows => table(rows, columns, width()),
        };
        print(&text)
    }
}

/// Prints a text.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints an object as JSON, with the version of what it says.
pub(crate) fn print_json(mut value: Value) -> Result<(), Failure> {
    if let Value::Object(object) = &mut value {
        object.insert("version".to_owned(), 1.into());
    }
    print(&format!("{value:#}\n"))
}

/// How wide a table may be; none where nobody says.
fn width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|it| it.parse().ok());
    said.or_else(|| {
        let out = io::stdout();
        let size = || rustix::termios::tcgetwinsize(&out).ok();
        let columns = || size().map_or(0, |size| usize::from(size.ws_col));
        out.is_terminal()
            .then(|| Some(columns()).filter(|it| *it > 0).unwrap_or(WIDTH))
    })
}

/// The rows under their headings, and the sums where there are several rows.
pub(crate) fn table(rows: &[Value], columns: &[Column], width: Option<usize>) -> String {
    let mut columns: Vec<&Column> = columns.iter().collect();
    loop {
        let cells = |row: &Value| columns.iter().map(|it| (it.shown)(row)).collect();
        let mut all: Vec<Vec<String>> =
            vec![columns.iter().map(|it| it.heading.to_owned()).collect()];
        all.extend(rows.iter().map(cells));
        if rows.len() > 1 && columns.iter().any(|it| it.sum.is_some()) {
            let sum = |column: &&Column| {
                let of = |sum: fn(&Value) -> u64| {
                    rows.iter()
                        .map(sum)
                        .fold(0, u64::saturating_add)
                        .to_string()
                };
                column.sum.map(of).unwrap_or_default()
            };
            let mut sums: Vec<String> = columns.iter().map(sum).collect();
            "TOTAL".clone_into(&mut sums[0]);
            all.push(sums);
        }
        let text = show::table(&all);
        let widest = text.lines().map(|line| line.chars().count()).max();
        let spare = columns.iter().map(|it| it.spare).max().filter(|it| *it > 0);
        match (width, spare) {
            (Some(width), Some(spare)) if widest > Some(width) => {
                columns.retain(|it| it.spare != spare);
            }
            _ => return text,
        }
    }
}

/// A field of a row.
pub(crate) fn field(row: &Value, place: &str) -> String {
    show::word(row.pointer(place))
}

/// A number of a row, 0 if it is not there.
pub(crate) fn number(row: &Value, place: &str) -> u64 {
    row.pointer(place).and_then(Value::as_u64).unwrap_or(0)
}

/// The sum over all reasons.
pub(crate) fn total(row: &Value, place: &str) -> u64 {
    let reasons = row.pointer(place).and_then(Value::as_object);
    let counts = reasons.into_iter().flat_map(|reasons| reasons.values());
    counts
        .filter_map(Value::as_u64)
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_where_it_can_and_adds_up_what_adds_up() {
        let rows = [
            json!({ "n": "a", "c": 2, "d": 1 }),
            json!({ "n": "b", "c": 3, "d": 1 }),
        ];
        let mut long = column("A LONG HEADING", |row| field(row, "/d"));
        long.spare = 1;
        let mut count = column("COUNT", |row| field(row, "/c"));
        count.sum = Some(|row| number(row, "/c"));
        let columns = [column("NAME", |row| field(row, "/n")), long, count];
        let wide = table(&rows, &columns, None);
        assert!(
            wide.starts_with("NAME   A LONG HEADING  COUNT\na      1"),
            "{wide}"
        );
        let narrow = table(&rows, &columns, Some(12));
        assert_eq!(narrow, "NAME   COUNT\na      2\nb      3\nTOTAL  5\n");
    }
}
