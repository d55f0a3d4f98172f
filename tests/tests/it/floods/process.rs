//! A process that is flooded, and what the system says of it: the processor time it has spent, the sockets it has open.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// A process that is flooded.
pub(super) struct Flooded {
    child: Child,
    /// Where it listens.
    pub(super) address: String,
    /// It ends when this is closed.
    _stdin: ChildStdin,
}

impl Flooded {
    pub(super) fn start(role: &str, more: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_flooded"))
            .args([role, more])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut address = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut address)
            .expect("a line");
        let _stdin = child.stdin.take().expect("piped");
        let address = address.trim().to_owned();
        Self {
            child,
            address,
            _stdin,
        }
    }

    pub(super) fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).expect("it listens")
    }

    /// Processor time that it has spent so far, as the system counts it.
    pub(super) fn spent(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("it runs");
        // Behind the name, which may contain anything: the 12th and 13th are ticks, of which a second has 100.
        let (_, numbers) = stat.rsplit_once(") ").expect("a name");
        let ticks = numbers.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.map(|it| it.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Sockets that it has open.
    pub(super) fn sockets(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs");
        let links = open.filter_map(|it| fs::read_link(it.ok()?.path()).ok());
        links
            .filter(|it| it.to_string_lossy().starts_with("socket:"))
            .count()
    }
}

impl Drop for Flooded {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}
