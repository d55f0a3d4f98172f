//! Real files, real processes that are killed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::fs::{SealFlags, fcntl_get_seals};
use telemetry_core::{
    Outcome, SystemClock, ValueRef,
    emit::{Fields, ReadAt, Recorder, RecorderConfig, recover},
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
                telemetry_core::emit::Budget {
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

/// What a process does that forks; a test of its own only when it is asked to be one.
#[test]
fn forks_and_looks() {
    unsafe extern "C" {
        safe fn fork() -> i32;
        safe fn _exit(code: i32) -> !;
    }
    if std::env::var_os("TELEMETRY_TEST_PARENT").is_none() {
        return;
    }
    let (recorder, file) = recorder();
    for count in 0..100 {
        emit(&recorder, count);
    }
    let source = Source(file.into());
    let content = || {
        let mut bytes = vec![0; RecorderConfig::default().layout().bytes()];
        FileExt::read_exact_at(&source.0, &mut bytes, 0).expect("readable");
        bytes
    };
    let before = content();
    let region_of = |config: RecorderConfig| {
        let clock = Arc::new(SystemClock::new());
        let made = super::recorder(config, clock, "7").expect("the default policy");
        made.1.as_ref().expect("a place").move_in();
        made
    };
    for _ in 0..100 {
        if fork() == 0 {
            // As a program does that knows nothing of all this.
            let site = recorder.callsite("a.b").expect("a valid name");
            let _reaches_nobody = recorder.record(&site, &Fields::default());
            let (own, shared) = region_of(RecorderConfig::default());
            emit(&own, 1);
            let is_shared = shared.is_some_and(|it| it.kind() == RegionKind::Shared);
            let is_own = own.snapshot().emitted == 1 && is_shared;
            // What is dropped of the parent's takes nothing from the child.
            drop(recorder);
            emit(&own, 2);
            _exit(if is_own && own.snapshot().emitted == 2 {
                0
            } else {
                1
            });
        }
        let (_, ended) = rustix::process::wait(rustix::process::WaitOptions::empty())
            .expect("a child")
            .expect("it ended");
        assert_eq!(ended.exit_status(), Some(0));
    }
    assert!(content() == before, "a child wrote into it");
    assert_eq!(recorder.snapshot().emitted, 100);
    writeln!(io::stdout().lock(), "all of it held").expect("a reader");
}

#[test]
fn a_child_that_knows_nothing_of_it_leaves_its_parent_alone() {
    let program = std::env::current_exe().expect("a test");
    let output = Command::new(program)
        .args(["region::tests::forks_and_looks", "--exact", "--nocapture"])
        .env("TELEMETRY_TEST_PARENT", "1")
        .output()
        .expect("a process");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("all of it held"), "{said}\n{errors}");
}

#[test]
fn one_place_is_used_by_one_recorder_after_the_other() {
    let config = || {
        let mut config = RecorderConfig::default();
        // A size that no other test of this process uses.
        config.max_callsites = 333;
        config
    };
    let clock = Arc::new(SystemClock::new());
    for number in 0..200 {
        let (recorder, shared) = super::recorder(config(), clock.clone(), "abc").expect("a policy");
        let shared = shared.expect("a place");
        emit(&recorder, number);
        assert_eq!(recorder.snapshot().emitted, 1, "it begins empty");
        assert_eq!(shared.kind(), RegionKind::Heap);
        shared.move_in();
        let file = shared.file().expect("ours").try_clone_to_owned();
        let file = File::from(file.expect("a number"));
        let left = recover(&Source(file.try_clone().expect("a number"))).expect("a region");
        assert_eq!(left.identity.incarnation, 0xabc);
        assert_eq!(left.events(0).count(), 1);
        drop(recorder);
        // It is there for whoever holds it, and nobody writes it any more.
        assert!(recover(&Source(file)).is_ok());
        assert_eq!(shared.kind(), RegionKind::Shared);
    }
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let length = config().layout().bytes().next_multiple_of(4_096);
    let places = maps.lines().filter(|line| {
        let (from, to) = line
            .split_once(' ')
            .expect("a range")
            .0
            .split_once('-')
            .expect("two");
        let at = |text| usize::from_str_radix(text, 16).expect("an address");
        at(to) - at(from) == length
    });
    assert!(places.count() <= 1, "{maps}");
}
