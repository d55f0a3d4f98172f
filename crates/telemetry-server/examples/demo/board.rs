//! The terminal: a board that is refreshed in place, and lines that stay above it.
//!
//! Where the output is no terminal the board is one plain line now and then.

use std::io::{self, IsTerminal, Write};

/// Columns when the terminal does not say.
const DEFAULT_COLUMNS: u16 = 100;

/// Where the demo draws.
#[derive(Debug)]
pub(crate) struct Board {
    /// Whether lines can be drawn over.
    in_place: bool,
    /// Lines of the board on the screen now.
    drawn: usize,
}

impl Board {
    /// An empty board on the standard output.
    pub(crate) fn new() -> Self {
        Self {
            in_place: io::stdout().is_terminal(),
            drawn: 0,
        }
    }

    /// Whether lines can be drawn over.
    pub(crate) fn in_place(&self) -> bool {
        self.in_place
    }

    /// Replaces the board.
    pub(crate) fn draw(&mut self, lines: &[String]) {
        let mut out = self.erase();
        if self.in_place {
            let columns = usize::from(columns());
            for line in lines {
                // A line that wraps would take two rows and break the count.
                out.extend(line.chars().take(columns.saturating_sub(1)));
                out.push('\n');
            }
            self.drawn = lines.len();
        } else {
            out.push_str(&lines.join("\n"));
            out.push('\n');
        }
        show(&out);
    }

    /// Prints lines that stay, above the board.
    pub(crate) fn say(&mut self, text: &str) {
        let mut out = self.erase();
        self.drawn = 0;
        out.push_str(text);
        out.push('\n');
        show(&out);
    }

    /// The control sequence that takes the board off the screen.
    fn erase(&self) -> String {
        if self.in_place && self.drawn > 0 {
            format!("\x1b[{}A\x1b[J", self.drawn)
        } else {
            String::new()
        }
    }
}

/// Writes to the terminal. One that has gone away is no reason to stop the demo.
fn show(text: &str) {
    let mut out = io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Columns of the terminal.
fn columns() -> u16 {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col,
        _ => DEFAULT_COLUMNS,
    }
}
