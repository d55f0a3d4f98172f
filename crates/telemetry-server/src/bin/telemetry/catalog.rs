//! `telemetry catalog`: the events and keys that a manager or a file knows, what workers sent beyond that,
//! and how two of them differ.

mod book;
mod compare;
mod learn;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::Value;
use telemetry_core::catalog::{Catalog, nearest};
use telemetry_server::config::Config;

use crate::failure::Failure;
use crate::running::Running;
use book::{Book, read_file};

/// What of a catalog is wanted.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// List all events and keys, as without a word; of a file that is named with --config, else of a running
    /// manager, else those that are built in.
    List,
    /// Show an event with its keys, by its event name or its wire name.
    Show {
        /// The name.
        event: String,
    },
    /// Write what workers sent to a running manager as the `[catalog]` of a configuration.
    Learn,
    /// Exit with 1 if workers sent what is not in a catalog: that of a file, or the manager's own.
    Check {
        /// A configuration file with a `[catalog]`; or the address of a manager.
        #[arg(value_name = "FILE|URL")]
        catalog: String,
    },
    /// Say how two catalogs differ; exit with 1 if they do.
    Diff {
        /// A configuration file with a `[catalog]`, or the address of a manager.
        #[arg(value_name = "A")]
        old: String,
        /// Another one.
        #[arg(value_name = "B")]
        new: String,
    },
}

/// Does what is wanted.
pub(crate) fn run(
    running: &Running,
    markdown: bool,
    json: bool,
    task: Option<Task>,
) -> Result<(), Failure> {
    let out = &mut io::stdout().lock();
    match task.unwrap_or(Task::List) {
        Task::List if markdown => {
            let catalog = match running.config() {
                Some(path) => Config::load(path)?.catalog,
                None => Arc::clone(Catalog::builtin()),
            };
            out.write_all(catalog.to_markdown().as_bytes())?;
            Ok(())
        }
        Task::List => {
            let book = listed(running)?;
            if json {
                writeln!(out, "{:#}", book.value)?;
                return Ok(());
            }
            list(out, &book)
        }
        Task::Show { event } => show(out, &listed(running)?, &event),
        Task::Learn => {
            let (text, left_out) = learn::toml(&Book::ask(running)?);
            out.write_all(text.as_bytes())?;
            match left_out {
                0 => Ok(()),
                n => Err(Failure::Failed(format!(
                    "{n} events were left out: a catalog has room for 256 keys and 1024 events of its own"
                ))),
            }
        }
        Task::Check { catalog } => {
            let (known, seen) = match running.at(&catalog) {
                Some(running) => (None, Book::ask(&running)?),
                None => (Some(read_file(Path::new(&catalog))?), Book::ask(running)?),
            };
            let found = compare::violations(&seen, known.as_deref());
            end(out, &found, "what workers sent is not in the catalog")
        }
        Task::Diff { old, new } => {
            let of = |place: &str| match running.at(place) {
                Some(running) => Book::ask(&running),
                None => Ok(Book::of(&*read_file(Path::new(place))?)),
            };
            end(
                out,
                &compare::differences(&of(&old)?, &of(&new)?),
                "the catalogs differ",
            )
        }
    }
}

/// Prints what was found; finding something is a failure.
fn end(out: &mut impl Write, found: &[String], what: &str) -> Result<(), Failure> {
    for line in found {
        writeln!(out, "{line}")?;
    }
    match found.len() {
        0 => Ok(()),
        n => Err(Failure::Failed(format!("{what}: {n}"))),
    }
}

/// The catalog that is looked at: that of a file that was named; else of a running manager; else the built-in
/// one, if no address was given.
fn listed(running: &Running) -> Result<Book, Failure> {
    if let Some(path) = running.config() {
        return Ok(Book::of(&Config::load(path)?.catalog));
    }
    match Book::ask(running) {
        Err(Failure::Failed(why)) if running.is_open() => {
            // With stderr closed the list is all there is.
            let _unheard = writeln!(
                io::stderr().lock(),
                "telemetry: this is what is built in, for {why}"
            );
            Ok(Book::of(Catalog::builtin()))
        }
        asked => asked,
    }
}

fn list(out: &mut impl Write, book: &Book) -> Result<(), Failure> {
    for event in book.rows("events") {
        let wire = match text(event, "wire_name") {
            "" => String::new(),
            wire => format!("  (wire {wire})"),
        };
        writeln!(
            out,
            "{:<52} {}{wire}",
            text(event, "name"),
            text(event, "origin")
        )?;
    }
    for event in book.rows("learned").filter(|it| it["known"] != true) {
        let (name, wire) = (text(event, "name"), text(event, "wire_name"));
        let pool = match text(event, "pool") {
            "" => String::new(),
            pool => format!(" in pool {pool}"),
        };
        writeln!(
            out,
            "{name:<52} learned{pool}  (wire {wire})  {} seen",
            event["count"]
        )?;
    }
    for key in book.rows("measurements") {
        let (name, unit, kind) = (text(key, "key"), text(key, "unit"), text(key, "kind"));
        writeln!(out, "{name:<52} measurement  ({unit}, {kind})")?;
    }
    for key in book.rows("metadata") {
        let label = if key["label"] == true {
            "  (label)"
        } else {
            ""
        };
        writeln!(out, "{:<52} metadata{label}", text(key, "key"))?;
    }
    Ok(())
}

fn show(out: &mut impl Write, book: &Book, wanted: &str) -> Result<(), Failure> {
    let is_it = |event: &&Value| {
        [text(event, "name"), text(event, "wire_name")].contains(&wanted) && event["known"] != true
    };
    let events = || book.rows("events").chain(book.rows("learned"));
    let Some(event) = events().find(is_it) else {
        let names = events().flat_map(|it| [text(it, "name"), text(it, "wire_name")]);
        let meant = compare::did_you_mean(nearest(wanted, names));
        return Err(Failure::Failed(format!(
            "there is no event {wanted:?}{meant}"
        )));
    };
    writeln!(out, "{}", text(event, "name"))?;
    for (what, field) in [
        ("wire name", "wire_name"),
        ("origin", "origin"),
        ("about", "doc"),
    ] {
        if !text(event, field).is_empty() {
            writeln!(out, "{what:<12} {}", text(event, field))?;
        }
    }
    if let Some(count) = event["count"].as_u64() {
        writeln!(
            out,
            "{:<12} from workers, {count} seen; not in the catalog",
            "learned"
        )?;
    }
    for (name, (unit, kind)) in book.measurements_of(event) {
        writeln!(out, "measurement  {name}  ({unit}, {kind})")?;
    }
    for name in book.metadata_of(event) {
        let label = if book.is_label(name) { "  (label)" } else { "" };
        writeln!(out, "metadata     {name}{label}")?;
    }
    Ok(())
}

/// A field that is text, or nothing.
fn text<'v>(row: &'v Value, field: &str) -> &'v str {
    row[field].as_str().unwrap_or_default()
}
