//! What others do to a manager's directory, and who may hold it.

use super::*;

/// Ends with code 1 and the reason.
fn refused(home: &Home) -> String {
    let log = home.dir.path().join("refused");
    let exit = home.command(&log).status().expect("the command runs");
    let said = fs::read_to_string(&log).expect("a log");
    assert_eq!(exit.code(), Some(1), "{said}");
    said
}

#[test]
fn manager_starts_at_once_after_the_kill_of_another() {
    let mut home = Home::new();
    home.configure(2, &finishing(""), "");
    let mut manager = home.start();
    let pids = manager.pids();
    for _ in 0..5 {
        // Nobody waits for its end.
        kill_process(raw(manager.child.id()), Signal::KILL).expect("it runs");
        manager = home.start();
    }
    assert_eq!(manager.pids(), pids, "{}", manager.log());
    manager.stop();
}

#[test]
fn worker_whose_record_is_missing_is_replaced_and_not_doubled() {
    let mut home = Home::new();
    home.configure(2, &finishing(""), "");
    let first = home.start();
    let pids = first.pids();
    for id in ["p-1", "p-2"] {
        let up = home.dir.path().join(format!("truth/up-{id}"));
        soon("it is up", || {
            fs::read_to_string(&up)
                .ok()
                .filter(|pid| pid.ends_with('\n'))
        });
    }
    fs::remove_file(home.run_dir().join("p-1.state")).expect("there");
    first.kill();
    let second = home.start();
    soon("it is replaced", || (!runs(pids["p-1"])).then_some(()));
    let now = soon("both run", || {
        Some(second.pids()).filter(|now| now.len() == 2)
    });
    assert_eq!(now["p-2"], pids["p-2"]);
    // One that was started a moment ago is not a shell yet.
    soon("both are seen", || (home.copies().len() >= 2).then_some(()));
    assert_eq!(home.copies().len(), 2);
    let finished = fs::read_to_string(home.dir.path().join("truth/finished"));
    assert_eq!(finished.expect("in order"), "p-1\n");
    second.stop();
}

#[test]
fn directory_that_was_removed_is_made_again_for_the_next_start() {
    let mut home = Home::new();
    home.configure(1, PRINTER, "");
    let manager = home.start();
    let old = manager.pids()["p-1"];
    // At once, for the manager writes into it.
    let removed = home.run_dir().with_extension("removed");
    fs::rename(home.run_dir(), &removed).expect("there");
    fs::remove_dir_all(removed).expect("nobody writes there");
    kill_process_group(raw(old), Signal::KILL).expect("it runs");
    let new = soon("another process", || {
        manager.pids().remove("p-1").filter(|pid| *pid != old)
    });
    soon("what it prints arrives", || {
        let line = format!("line p-1 {new} ");
        manager.log().contains(&line).then_some(())
    });
    assert!(home.run_dir().join("p-1.state").exists());
    assert!(refused(&home).contains("is held by the manager with pid"));
    manager.stop();
}
