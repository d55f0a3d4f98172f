//! Parts that run in a process of their own: this program again, under another name.
//!
//! They talk in lines over stdin and stdout, and end when their stdin does.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

/// What marks a role on the command line; nobody types it.
const MARK: &str = "--role";

/// A part of a benchmark.
pub(crate) type Role = fn(&[String]);

/// A part that plays. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Played {
    child: Child,
    /// Taken to end it.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// Plays the role this process was started for, if there is one.
pub(crate) fn play(roles: &[(&str, Role)]) -> Option<ExitCode> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let (mark, rest) = arguments.split_first()?;
    if mark != MARK {
        return None;
    }
    let (name, rest) = rest.split_first()?;
    let (_, role) = roles.iter().find(|(known, _)| known == name)?;
    role(rest);
    Some(ExitCode::SUCCESS)
}

/// Starts this program in a role.
pub(crate) fn spawn(role: &str, arguments: &[&str]) -> Played {
    let program = env::current_exe().expect("a program");
    let mut child = Command::new(program)
        .args([MARK, role])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let orders = child.stdin.take();
    let answers = BufReader::new(child.stdout.take().expect("a pipe"));
    Played {
        child,
        orders,
        answers,
    }
}

impl Played {
    /// Gives an order and waits for the answer.
    pub(crate) fn ask(&mut self, order: &str) -> String {
        if let Some(orders) = &mut self.orders {
            writeln!(orders, "{order}").expect("a living process");
        }
        self.hear()
    }

    /// Waits for a line.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a line");
        assert!(line.ends_with('\n'), "a part of the benchmark ended early");
        line.trim_end().to_owned()
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.orders = None;
        // It has nothing to wait for any more.
        let _status = self.child.wait();
    }
}

/// How many events the order `received N` is about.
pub(crate) fn expected(order: &str) -> u64 {
    let number = order.strip_prefix("received ");
    number
        .and_then(|text| text.parse().ok())
        .expect("received N")
}

/// Answers every order until there are no more.
pub(crate) fn obey(mut answer: impl FnMut(&str) -> String) {
    for order in io::stdin().lines().map_while(Result::ok) {
        println!("{}", answer(&order));
    }
}
