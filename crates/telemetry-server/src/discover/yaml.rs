//! A list of targets in YAML, read as the parser tells it.
//!
//! Nothing but the shape of such a list is understood. Anchors are refused: an alias of an alias of an alias makes of
//! a short file one that fits into no memory.

use saphyr_parser::{Event, Parser, StrInput};

use super::file_sd::{Group, ListFault};

/// Reads the text of a file. An empty one has no groups.
pub(super) fn groups(text: &str) -> Result<Vec<Group>, ListFault> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        line: 1,
    };
    let groups = reader.document()?;
    match reader.next()? {
        Event::StreamEnd => Ok(groups),
        _ => Err(reader.fault("there is a second document")),
    }
}

/// The events of a text, one after the other.
struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    /// Of the last event.
    line: usize,
}

impl<'t> Reader<'t> {
    /// The next event that means something.
    fn next(&mut self) -> Result<Event<'t>, ListFault> {
        loop {
            let event = match self.parser.next() {
                None => return Ok(Event::StreamEnd),
                Some(Ok((event, span))) => {
                    self.line = span.start.line();
                    event
                }
                Some(Err(error)) => {
                    self.line = error.marker().line();
                    return Err(self.fault(error.info()));
                }
            };
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::Alias(_) => return Err(self.fault("aliases are not read")),
                event => return Ok(event),
            }
        }
    }

    fn fault(&self, problem: impl Into<String>) -> ListFault {
        ListFault {
            line: Some(self.line),
            problem: problem.into(),
        }
    }

    /// A document, or none.
    fn document(&mut self) -> Result<Vec<Group>, ListFault> {
        let first = match self.next()? {
            Event::DocumentStart(_) => self.next()?,
            _ => return Ok(Vec::new()),
        };
        match first {
            Event::SequenceStart(..) => {}
            Event::Scalar(text, ..) if matches!(&*text, "" | "~" | "null") => return Ok(Vec::new()),
            _ => return Err(self.fault("it does not begin with a list")),
        }
        let mut groups = Vec::new();
        loop {
            match self.next()? {
                Event::MappingStart(..) => groups.push(self.group()?),
                Event::SequenceEnd => return Ok(groups),
                _ => return Err(self.fault("an entry of the list is no {targets, labels}")),
            }
        }
    }

    /// An entry of the list, behind its beginning.
    fn group(&mut self) -> Result<Group, ListFault> {
        let mut group = Group::default();
        loop {
            match self.next()? {
                Event::MappingEnd => return Ok(group),
                Event::Scalar(key, ..) if key == "targets" => self.targets(&mut group)?,
                Event::Scalar(key, ..) if key == "labels" => self.labels(&mut group)?,
                Event::Scalar(..) => self.skip()?,
                _ => return Err(self.fault("a key is no text")),
            }
        }
    }

    fn targets(&mut self, group: &mut Group) -> Result<(), ListFault> {
        if !matches!(self.next()?, Event::SequenceStart(..)) {
            return Err(self.fault("targets is no list"));
        }
        loop {
            match self.next()? {
                Event::Scalar(target, ..) => group.targets.push(target.into_owned()),
                Event::SequenceEnd => return Ok(()),
                _ => return Err(self.fault("a target is no text")),
            }
        }
    }

    fn labels(&mut self, group: &mut Group) -> Result<(), ListFault> {
        if !matches!(self.next()?, Event::MappingStart(..)) {
            return Err(self.fault("labels is no table"));
        }
        loop {
            let key = match self.next()? {
                Event::Scalar(key, ..) => key.into_owned(),
                Event::MappingEnd => return Ok(()),
                _ => return Err(self.fault("a label's name is no text")),
            };
            let Event::Scalar(value, ..) = self.next()? else {
                return Err(self.fault(format!("the label {key:?} is no text")));
            };
            group.labels.insert(key, value.into_owned());
        }
    }

    /// Passes over a value.
    fn skip(&mut self) -> Result<(), ListFault> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
                Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
                Event::Scalar(..) => {}
                _ => return Err(self.fault("it ends within a value")),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}
