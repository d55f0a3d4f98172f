//! The life of a manager beside that of its workers: killed, started again, started twice, stopped; with
//! real processes, as a user would see it.

mod directory;
mod rig;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process, kill_process_group};
use serde_json::Value;

use rig::{Home, PRINTER, finishing, raw, runs, soon};

#[test]
fn workers_of_a_killed_manager_are_adopted_and_end_with_the_next_one() {
    let mut home = Home::new();
    home.configure(4, PRINTER, "");
    let first = home.start();
    let ids = ["p-1", "p-2", "p-3", "p-4"];
    soon("all workers print", || {
        ids.iter().all(|id| first.lines(id).len() > 5).then_some(())
    });
    let pids = first.pids();
    assert_eq!(pids.len(), 4);
    let before: Vec<Vec<u64>> = ids.iter().map(|id| first.lines(id)).collect();
    assert!(before.iter().all(|lines| !lines.is_empty()));
    let log = first.log.clone();
    first.kill();
    let passed: Vec<u64> = ids
        .iter()
        .map(|id| {
            let log = fs::read_to_string(&log).expect("a log");
            let mut lines = log
                .lines()
                .filter(|line| line.starts_with(&format!("line {id} ")));
            let last = lines.next_back().expect("a line");
            last.rsplit(' ')
                .next()
                .expect("a number")
                .parse()
                .expect("a number")
        })
        .collect();
    // They go on although nobody reads what they print.
    let killed: Vec<u64> = ids.iter().map(|id| home.truth(id)).collect();
    soon("all workers go on", || {
        let went_on = |(id, killed): (&&str, &u64)| home.truth(id) > killed + 10;
        ids.iter().zip(&killed).all(went_on).then_some(())
    });

    let second = home.start();
    assert_eq!(second.pids(), pids, "{}", second.log());
    let took = second.began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    for row in second.workers().values() {
        assert_eq!(
            (&row["adopted"], &row["restarts"]),
            (&true.into(), &0.into()),
            "{row:#}"
        );
    }
    let now: Vec<u64> = ids.iter().map(|id| home.truth(id)).collect();
    soon("what they print arrives", || {
        let arrived = |(id, now): (&&str, &u64)| second.lines(id).last() > Some(now);
        ids.iter().zip(&now).all(arrived).then_some(())
    });
    for (id, passed) in ids.iter().zip(passed) {
        let lines = second.lines(id);
        let (first, last) = (lines[0], lines[lines.len() - 1]);
        let all: Vec<u64> = (first..=last).collect();
        assert_eq!(lines, all, "each line once and in order");
        // What was on its way when the manager was killed is the only loss or repetition.
        assert!(
            first.abs_diff(passed + 1) <= 5,
            "{id}: {passed} then {first}"
        );
    }
    let received = |row: &Value| row["ledger"]["received"].as_u64();
    assert!(
        second
            .workers()
            .values()
            .all(|row| received(row) > Some(10))
    );
    let mut copies = home.copies();
    copies.sort_unstable();
    let mut expected: Vec<u32> = pids.values().copied().collect();
    expected.sort_unstable();
    assert_eq!(copies, expected, "no second copy, and none was hurt");

    second.stop();
    assert!(
        home.copies().is_empty(),
        "they end with the manager that adopted them"
    );
    let left = fs::read_dir(home.run_dir()).expect("there").flatten();
    let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["manager.lock", "token"], "nothing of a worker");
}

#[test]
fn an_adopted_worker_that_ends_is_started_again() {
    let mut home = Home::new();
    home.configure(1, PRINTER, "");
    home.start().kill();
    let manager = home.start();
    let pid = manager.pids()["p-1"];
    kill_process_group(raw(pid), Signal::KILL).expect("it runs");
    let row = soon("another process", || {
        let row = manager.workers().remove("p-1")?;
        (row["restarts"] == 1 && row["pid"].is_u64()).then_some(row)
    });
    assert_ne!(row["pid"], pid);
    assert_eq!(row["adopted"], false);
    assert_eq!(row["last_pid"], pid);
    assert_eq!(row["last_exit"], "ended (exit status unknown: adopted)");
    manager.stop();
}

#[test]
fn second_manager_is_refused_and_the_first_goes_on() {
    let mut home = Home::new();
    home.configure(2, PRINTER, "");
    let first = home.start();
    soon("a worker prints", || first.lines("p-2").last().copied());
    let pids = first.pids();
    let log = home.dir.path().join("refused");
    let mut second = home.command(&log).spawn().expect("the command runs");
    let exit = second.wait().expect("it ended");
    let said = fs::read_to_string(&log).expect("a log");
    assert_eq!(exit.code(), Some(1), "{said}");
    let holder = format!(
        "is held by the manager with pid {}, since 20",
        first.child.id()
    );
    assert!(
        said.contains(&holder) && said.contains("t.toml\""),
        "{said}"
    );
    assert!(
        said.contains("stop that manager, or give this one another directory"),
        "{said}"
    );
    assert_eq!(first.pids(), pids);
    let now = home.truth("p-1");
    soon("the first still reads", || {
        (first.lines("p-1").last() > Some(&now)).then_some(())
    });
    first.stop();
}

#[test]
fn manager_that_is_killed_while_it_starts_its_workers_leaves_no_second_copy() {
    let mut home = Home::new();
    home.configure(8, &finishing(""), "");
    let log = home.dir.path().join("killed");
    // How long a start takes here and now; the moments of the kill are spread over it.
    let began = Instant::now();
    let mut child = home.command(&log).spawn().expect("the command runs");
    soon("all run", || (home.copies().len() == 8).then_some(()));
    let took = began.elapsed();
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    let mut interrupted = 0;
    for attempt in 0..200 {
        if home.copies().len() == 8 {
            for pid in home.copies() {
                let _ended_meanwhile = kill_process_group(raw(pid), Signal::KILL);
            }
        }
        if interrupted > 2 {
            break;
        }
        let mut child = home.command(&log).spawn().expect("the command runs");
        sleep(took * (attempt % 12) / 12);
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        let started = home.copies().len();
        assert!(started <= 8, "{started}");
        interrupted += usize::from((1..8).contains(&started));
    }
    assert!(interrupted > 0, "no start was interrupted");
    let manager = home.start();
    let pids: Vec<u32> = manager.pids().into_values().collect();
    let mut copies = home.copies();
    copies.sort_unstable();
    let mut expected = pids;
    expected.sort_unstable();
    assert_eq!(copies, expected, "{}", manager.log());
    manager.stop();
    assert!(home.copies().is_empty());
}

#[test]
fn restarts_are_counted_on_by_the_next_manager() {
    let mut home = Home::new();
    home.configure(1, &finishing(""), "");
    let first = home.start();
    let old = first.pids()["p-1"];
    kill_process_group(raw(old), Signal::KILL).expect("it runs");
    let pid = soon("another process", || {
        first.pids().remove("p-1").filter(|pid| *pid != old)
    });
    soon("it is counted", || {
        (first.workers()["p-1"]["restarts"] == 1).then_some(())
    });
    first.kill();
    let second = home.start();
    let row = &second.workers()["p-1"];
    assert_eq!((&row["pid"], &row["restarts"]), (&pid.into(), &1.into()));
    second.stop();
}

#[test]
fn worker_whose_command_was_changed_is_replaced_in_order() {
    let mut home = Home::new();
    home.configure(1, &finishing("one"), "");
    let first = home.start();
    let up = home.dir.path().join("truth/up-p-1");
    soon("it is up", || {
        fs::read_to_string(&up)
            .ok()
            .filter(|pid| pid.ends_with('\n'))
    });
    let old = first.pids()["p-1"];
    first.kill();
    home.configure(1, &finishing("two"), "");
    let second = home.start();
    let row = soon("another process", || {
        let row = second.workers().remove("p-1")?;
        (row["pid"].is_u64() && row["pid"] != old).then_some(row)
    });
    assert!(!runs(old));
    assert_eq!(
        (&row["adopted"], &row["last_pid"]),
        (&false.into(), &old.into())
    );
    assert_eq!(row["last_error"], Value::Null, "it was planned");
    let finished = fs::read_to_string(home.dir.path().join("truth/finished"));
    assert_eq!(finished.expect("it finished"), "p-1\n");
    let log = second.log();
    assert!(
        log.contains("its command, directory or environment was changed"),
        "{log}"
    );
    assert_eq!(home.copies().len(), 1);
    second.stop();
}

#[test]
fn worker_that_no_pool_has_any_more_is_ended_in_order() {
    let mut home = Home::new();
    home.configure(3, &finishing(""), "");
    let first = home.start();
    for id in 1..=3 {
        let up = home.dir.path().join(format!("truth/up-p-{id}"));
        soon("it is up", || {
            fs::read_to_string(&up)
                .ok()
                .filter(|pid| pid.ends_with('\n'))
        });
    }
    let pids = first.pids();
    first.kill();
    home.configure(2, &finishing(""), "");
    let second = home.start();
    soon("the third ends", || (!runs(pids["p-3"])).then_some(()));
    let finished = fs::read_to_string(home.dir.path().join("truth/finished"));
    assert_eq!(finished.expect("it finished"), "p-3\n");
    let now = second.pids();
    assert_eq!(now.len(), 2);
    assert!(
        now.iter().all(|(id, pid)| pids[id] == *pid),
        "{pids:?} {now:?}"
    );
    soon("nothing is left of it", || {
        (!home.run_dir().join("p-3.state").exists()).then_some(())
    });
    second.stop();
}

#[test]
fn workers_end_with_a_killed_manager_if_they_are_to() {
    let mut home = Home::new();
    home.configure(2, &finishing(""), "on_manager_exit = \"stop\"");
    let first = home.start();
    for id in ["p-1", "p-2"] {
        let up = home.dir.path().join(format!("truth/up-{id}"));
        let pid = soon("it is up", || {
            fs::read_to_string(&up)
                .ok()
                .filter(|pid| pid.ends_with('\n'))
        });
        // The process that the manager started is the worker itself, under its own name.
        assert_eq!(first.pids()[id].to_string(), pid.trim());
        let cmdline = fs::read(format!("/proc/{}/cmdline", pid.trim())).expect("it runs");
        assert!(cmdline.starts_with(b"sh\0-c\0trap"), "{cmdline:?}");
    }
    let pids = first.pids();
    first.kill();
    soon("both end", || {
        pids.values().all(|pid| !runs(*pid)).then_some(())
    });
    let finished = fs::read_to_string(home.dir.path().join("truth/finished"));
    assert_eq!(finished.expect("they were asked").lines().count(), 2);
    let second = home.start();
    assert!(second.workers().values().all(|row| row["adopted"] == false));
    second.stop();
}

#[test]
fn crash_loop_is_visible() {
    let mut home = Home::new();
    home.configure(
        1,
        r"echo starting >&2; printf 'ValueError: \033[31mno\n' >&2; exit 3",
        "",
    );
    let manager = home.start();
    let row = soon("a few crashes", || {
        let row = manager.workers().remove("p-1")?;
        (row["failures"].as_u64() > Some(2) && row["state"] == "backoff").then_some(row)
    });
    assert_eq!(row["pid"], Value::Null, "{row:#}");
    assert!(row["last_pid"].is_u64(), "{row:#}");
    assert_eq!(
        (&row["last_exit_code"], &row["last_signal"]),
        (&3.into(), &Value::Null)
    );
    assert_eq!(row["last_exit"], "exit code 3");
    assert_eq!(row["last_stderr"], "ValueError: \\u{001B}[31mno");
    assert_eq!(
        row["last_error"],
        "exit code 3: ValueError: \\u{001B}[31mno"
    );
    let log = manager.log();
    let said: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("ended unexpectedly"))
        .collect();
    assert_eq!(said.len(), 1, "{log}");
    for part in ["exit code 3", "ValueError: ", "p-1"] {
        assert!(said[0].contains(part), "{said:?}");
    }
    assert!(
        !said[0].contains("\u{1b}[31mno"),
        "what it wrote is escaped: {said:?}"
    );
    manager.stop();
}

#[test]
fn worker_prints_a_lot_while_its_manager_stands_still() {
    let mut home = Home::new();
    // 100 MB when it is told to, and then a file that says so.
    let script = "until [ -e $TRUTH/go ]; do sleep 0.01; done; \
                  head -c 100000000 /dev/zero | tr '\\0' 'x' >&2; echo >&2; echo the end >&2; \
                  echo > $TRUTH/done; while :; do sleep 0.01; done";
    home.configure(1, script, "");
    let manager = home.start();
    kill_process(raw(manager.child.id()), Signal::STOP).expect("it runs");
    fs::write(home.dir.path().join("truth/go"), "").expect("a file");
    let done = home.dir.path().join("truth/done");
    soon("it goes on", || done.exists().then_some(()));
    let stderr = home.run_dir().join("p-1.stderr");
    let waiting = fs::metadata(&stderr).expect("there");
    assert!(
        waiting.blocks() * 512 >= 100_000_000,
        "nobody read it: {waiting:?}"
    );
    assert_eq!(waiting.mode() & 0o777, 0o600);
    kill_process(raw(manager.child.id()), Signal::CONT).expect("it runs");
    soon("it is read", || {
        let log = File::open(&manager.log).ok()?;
        let length = log.metadata().ok()?.len();
        let mut end = vec![0; 200];
        log.read_at(&mut end, length.saturating_sub(200)).ok()?;
        let has_end = String::from_utf8_lossy(&end).contains("\nthe end\n");
        (length > 100_000_000 && has_end).then_some(())
    });
    soon("its space is given back", || {
        let left = fs::metadata(&stderr).ok()?;
        (left.blocks() * 512 <= 128 * 1024).then_some(())
    });
    manager.stop();
}
