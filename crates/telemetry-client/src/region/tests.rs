//! Real files, real processes that are killed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::fs::{SealFlags, fcntl_get_seals};
use telemetry_core::{
    Fields, Outcome, ReadAt, Recorder, RecorderConfig, SystemClock, ValueRef, recover,
};

use super::*;

/// A file to recover from.
struct Source(File);

impl ReadAt for Source {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, bytes, offset)
    }
}

fn identity() -> Identity {
    Identity {
        pid: std::process::id(),
        incarnation: 7,
    }
}

fn recorder() -> (Recorder, OwnedFd) {
    let config = RecorderConfig::default();
    let (region, file) = region_file(config.layout(), identity()).expect("a memory file");
    let clock = Arc::new(SystemClock::new());
    let recorder = Recorder::in_region(config, clock, region).expect("the default policy");
    (recorder, file)
}

fn emit(recorder: &Recorder, count: i64) {
    let site = recorder.callsite("tool.result_size").expect("a valid name");
    let measurements = [("count", ValueRef::Int(count))];
    let fields = Fields {
        measurements: &measurements,
        ..Fields::default()
    };
    assert_eq!(recorder.record(&site, &fields), Outcome::Accepted);
}

#[test]
fn nobody_else_can_write_or_resize_it() {
    let (_recorder, file) = recorder();
    let seals = fcntl_get_seals(&file).expect("seals");
    assert!(
        seals.contains(
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL
        )
    );
    let file = File::from(file);
    assert!(FileExt::write_at(&file, b"x", 0).is_err());
    assert!(file.set_len(0).is_err());
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let again = File::options().write(true).open(path);
    assert!(again.is_err() || again.is_ok_and(|it| FileExt::write_at(&it, b"x", 0).is_err()));
}

#[test]
fn what_is_in_it_is_read_from_outside() {
    let (recorder, file) = recorder();
    for count in 0..10 {
        emit(&recorder, count);
    }
    let left = recover(&Source(file.into())).expect("a region");
    assert_eq!(left.identity, identity());
    assert_eq!((left.counters.emitted, left.holes), (10, 0));
    assert_eq!(left.events(0).count(), 10);
    assert_eq!(left.events(4).count(), 6);
}

/// What the killed process does; a test of its own only when it is asked to be one.
#[test]
fn emits_until_it_is_killed() {
    if std::env::var_os("TELEMETRY_TEST_VICTIM").is_none() {
        return;
    }
    let (recorder, file) = recorder();
    let mut said = io::stdout().lock();
    writeln!(said, "victim {} {}", std::process::id(), file.as_raw_fd()).expect("a reader");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).expect("a word");
    let truth = File::options()
        .write(true)
        .open(line.trim())
        .expect("a file");
    for count in 0_i64.. {
        emit(&recorder, count);
        // Outside of our code, behind the return of the emit.
        FileExt::write_at(&truth, &(count + 1).to_le_bytes(), 0).expect("room");
        if count == 8_000 {
            recorder.drain_frames(
                &mut Vec::new(),
                telemetry_core::Budget {
                    events: 8_000,
                    bytes: usize::MAX,
                },
            );
        }
    }
}

#[test]
fn a_killed_process_leaves_every_event_whose_emit_returned() {
    let directory = tempfile::tempdir().expect("a directory");
    for round in 0..25_u64 {
        let truth = directory.path().join(format!("truth-{round}"));
        File::create(&truth).expect("a file");
        let program = std::env::current_exe().expect("a test");
        let mut victim = Command::new(program)
            .args([
                "region::tests::emits_until_it_is_killed",
                "--exact",
                "--nocapture",
            ])
            .env("TELEMETRY_TEST_VICTIM", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let said = BufReader::new(victim.stdout.take().expect("piped"));
        let line = said.lines().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("victim ")?;
            Some(rest.to_owned())
        });
        let line = line.expect("it begins");
        let (pid, fd) = line.split_once(' ').expect("two numbers");
        let region = File::open(format!("/proc/{pid}/fd/{fd}")).expect("its region");
        let mut told = victim.stdin.take().expect("piped");
        writeln!(told, "{}", truth.display()).expect("it listens");
        let returned = || {
            let mut bytes = [0; 8];
            let file = File::open(&truth).expect("a file");
            let read = FileExt::read_at(&file, &mut bytes, 0).expect("readable");
            if read == 8 {
                u64::from_le_bytes(bytes)
            } else {
                0
            }
        };
        while returned() <= round * 450 {
            std::thread::yield_now();
        }
        victim.kill().expect("it runs");
        victim.wait().expect("it ends");
        let returned = returned();
        let left = recover(&Source(region)).expect("a region");
        let sent = left.counters.sent;
        let there = left.events(sent).count() as u64 + sent;
        // One may have been under way.
        let lost = left.holes + left.counters.dropped.total();
        let all = there + lost;
        assert!(
            all == returned || all == returned + 1,
            "{all} of {returned}: {:?}",
            left.counters
        );
        assert!(left.holes <= 1 && there <= left.counters.emitted);
    }
}
