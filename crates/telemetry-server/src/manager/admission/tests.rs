//! Names and bounds, without a socket: callers that say anything, and processes that are there or not.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::place::{MAX_HELD, MAX_LOOKS};
use super::*;
use crate::ManagerConfig;

/// A process that runs until it is ended.
struct Running(Child);

impl Running {
    fn start() -> Self {
        let child = Command::new("cat").stdin(Stdio::piped()).spawn();
        Self(child.expect("a process"))
    }

    /// In the group of that process, or in one of its own.
    fn in_group(of: u32) -> Self {
        let mut command = Command::new("cat");
        let group = i32::try_from(of).expect("a process id");
        let child = command.stdin(Stdio::piped()).process_group(group).spawn();
        Self(child.expect("a process"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn end(mut self) {
        self.0.kill().expect("it runs");
        let _exit = self.0.wait().expect("it ended");
    }
}

fn manager() -> Manager {
    Manager::start(ManagerConfig::new("n1")).expect("valid")
}

fn caller(worker: &str, incarnation: u64, pid: Option<u32>) -> Caller {
    let mut introduction = Introduction::default();
    introduction.worker = worker.to_owned();
    introduction.incarnation = format!("{incarnation:032x}");
    Caller {
        introduction,
        peer: Peer::Process { pid },
        pid,
        life: pid.map(Life::of).unwrap_or_default(),
        ancestry: pid.map(Ancestry::of).unwrap_or_default(),
    }
}

impl Caller {
    fn of(mut self, pool: &str) -> Self {
        pool.clone_into(&mut self.introduction.pool);
        self
    }
}

/// Has a caller admitted, whose connection never comes. The ids that there are then.
fn call(manager: &Manager, caller: &Caller) -> Vec<String> {
    let admission = manager.admit(caller, true);
    assert!(matches!(admission, Admission::Welcome(_)), "{admission:?}");
    ids(manager)
}

fn ids(manager: &Manager) -> Vec<String> {
    let streams = manager.list_streams();
    streams.iter().map(|it| it.worker_id.to_string()).collect()
}

fn why(admission: Admission) -> Refusal {
    match admission {
        Admission::Refused(why, _) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_id_stays_with_its_process_until_that_is_gone() {
    let (manager, first, second) = (manager(), Running::start(), Running::start());
    let (a, b) = (
        caller("w", 1, Some(first.pid())),
        caller("w", 2, Some(second.pid())),
    );
    assert_eq!(call(&manager, &a), ["w"]);
    assert_eq!(call(&manager, &b), ["w", "w~2"]);
    // Both are back where they were.
    assert_eq!(call(&manager, &b), ["w", "w~2"]);
    assert_eq!(call(&manager, &a), ["w", "w~2"]);
    first.end();
    let third = Running::start();
    assert_eq!(
        call(&manager, &caller("w", 3, Some(third.pid()))),
        ["w", "w~2"]
    );
    third.end();
    second.end();
}

#[tokio::test]
async fn a_process_that_ends_before_its_connection_comes_leaves() {
    let (manager, process) = (manager(), Running::start());
    assert_eq!(call(&manager, &caller("w", 1, Some(process.pid()))), ["w"]);
    process.end();
    let mut config = ManagerConfig::new("n1");
    config.away_grace = Duration::from_millis(10);
    let manager = Manager::start(config).expect("valid");
    assert_eq!(call(&manager, &caller("w", 1, None)), ["w"]);
    let mut changes = manager.subscribe();
    let gone = async {
        while !ids(&manager).is_empty() {
            changes.changed().await.expect("a manager");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .expect("it never left");
}

#[tokio::test]
async fn one_whose_process_cannot_be_seen_is_known_by_its_incarnation() {
    let manager = manager();
    assert_eq!(call(&manager, &caller("w", 1, None)), ["w"]);
    assert_eq!(call(&manager, &caller("w", 1, None)), ["w"]);
    // It is there as far as is known; perhaps not for long.
    let other = caller("w", 2, None);
    assert!(matches!(manager.admit(&other, false), Admission::Undecided));
    assert_eq!(call(&manager, &other), ["w", "w~2"]);
}

#[tokio::test]
async fn children_of_a_registered_worker_are_named_after_it() {
    let (manager, own) = (manager(), Running::in_group(0));
    let child = Running::in_group(own.pid());
    let endpoint: crate::Address = "unix:/nonexistent/web-1.sock".parse().expect("valid");
    let register = |pid| {
        let mut context = WorkerContext::new("web-1").in_pool("web");
        context.python_pid = Some(pid);
        manager
            .register_worker(endpoint.clone(), context)
            .expect("usable");
    };
    register(own.pid());
    let named = format!("web-1.{}", child.pid());
    assert_eq!(
        call(&manager, &caller("web-1", 1, Some(child.pid()))),
        ["web-1", &named]
    );
    assert_eq!(
        call(&manager, &caller("web-1", 2, Some(own.pid()))),
        ["web-1", &named]
    );
    let info = manager
        .stream(&WorkerId::from(named.as_str()))
        .expect("there");
    assert_eq!(info.parent, Some("web-1".into()));
    assert_eq!(info.pool_name.as_deref(), Some("web"));
    // It was no child but its successor, which was quicker than its registration.
    register(child.pid());
    assert_eq!(ids(&manager), ["web-1"]);
    assert_eq!(
        call(&manager, &caller("web-1", 1, Some(child.pid()))),
        ["web-1"]
    );
    own.end();
    child.end();
}

#[tokio::test]
async fn a_stranger_that_calls_itself_by_a_registered_id_is_no_child_of_it() {
    let (manager, own, stranger) = (manager(), Running::in_group(0), Running::start());
    let endpoint: crate::Address = "unix:/nonexistent/web-1.sock".parse().expect("valid");
    let register = |pid| {
        let mut context = WorkerContext::new("web-1").in_pool("web");
        context.python_pid = Some(pid);
        let registered = manager.register_worker(endpoint.clone(), context);
        registered.expect("usable");
    };
    register(own.pid());
    let caller = caller("web-1", 1, Some(stranger.pid())).of("other");
    assert_eq!(call(&manager, &caller), ["web-1", "web-1~2"]);
    let info = manager.stream(&"web-1~2".into()).expect("there");
    assert_eq!(info.parent, None);
    assert_eq!(info.pool_name.as_deref(), Some("other"));
    // It was its successor after all: it comes again under its own name.
    own.end();
    register(stranger.pid());
    assert_eq!(ids(&manager), ["web-1"]);
    assert_eq!(call(&manager, &caller), ["web-1"]);
    stranger.end();
}

#[tokio::test]
async fn who_calls_itself_by_the_id_of_a_process_that_is_gone_is_asked_to_wait_a_moment() {
    let (manager, own, next) = (manager(), Running::in_group(0), Running::start());
    let endpoint: crate::Address = "unix:/nonexistent/web-1.sock".parse().expect("valid");
    let mut context = WorkerContext::new("web-1").in_pool("web");
    context.python_pid = Some(own.pid());
    let registered = manager.register_worker(endpoint, context);
    registered.expect("usable");
    own.end();
    let caller = caller("web-1", 1, Some(next.pid()));
    let admission = manager.admit(&caller, false);
    assert!(matches!(admission, Admission::Undecided), "{admission:?}");
    next.end();
}

#[tokio::test]
async fn an_unregistered_worker_is_refused_under_all_its_names() {
    let (manager, process, other) = (manager(), Running::start(), Running::start());
    let first = caller("w", 1, Some(process.pid()));
    call(&manager, &first);
    assert!(manager.unregister_worker(&"w".into()).await);
    assert_eq!(why(manager.admit(&first, true)), Refusal::Unregistered);
    let renamed = caller("x", 1, Some(process.pid()));
    assert_eq!(why(manager.admit(&renamed, true)), Refusal::Unregistered);
    let successor = caller("w", 2, Some(other.pid()));
    assert_eq!(why(manager.admit(&successor, true)), Refusal::Unregistered);
    assert!(manager.readmit(&"w".into()));
    assert_eq!(call(&manager, &successor), ["w"]);
    // One that is gone does not come back, so nobody is kept away.
    other.end();
    assert!(manager.unregister_worker(&"w".into()).await);
    assert_eq!(call(&manager, &first), ["w"]);
    process.end();
}

#[tokio::test]
async fn there_are_only_so_many_workers_and_pools() {
    let manager = manager();
    for number in 0..MAX_WORKERS as u64 {
        let mut caller = caller(&format!("w{number}"), number, None);
        if number < MAX_NAMED_POOLS as u64 {
            caller.introduction.pool = format!("p{number}");
        }
        let admission = manager.admit(&caller, true);
        assert!(matches!(admission, Admission::Welcome(_)), "{number}");
    }
    let further = caller("further", u64::MAX, None);
    assert_eq!(why(manager.admit(&further, true)), Refusal::Full);
    assert!(manager.unregister_worker(&"w0".into()).await);
    // A pool beyond the bound is none, and what nobody uses makes room.
    let further = caller("further", u64::MAX, None).of("further");
    call(&manager, &further);
    let pool = |id: &str| manager.stream(&id.into()).expect("there").pool_name;
    assert_eq!(pool("further").as_deref(), Some("further"));
    assert!(manager.unregister_worker(&"w9999".into()).await);
    call(&manager, &caller("last", u64::MAX - 1, None).of("last"));
    assert_eq!(pool("last"), None);
}

#[tokio::test]
async fn names_of_pools_that_were_made_up_are_not_used_up() {
    let manager = manager();
    for number in 0..=MAX_NAMED_POOLS as u64 {
        let liar = caller("liar", number, None).of(&format!("p{number}"));
        call(&manager, &liar);
        assert!(manager.unregister_worker(&"liar".into()).await);
        manager.readmit(&"liar".into());
    }
    call(&manager, &caller("honest", u64::MAX, None).of("web"));
    let honest = manager.stream(&"honest".into()).expect("there");
    assert_eq!(honest.pool_name.as_deref(), Some("web"));
}

#[tokio::test]
async fn one_process_holds_only_so_many_ids() {
    let (manager, process, other) = (manager(), Running::start(), Running::start());
    for number in 0..MAX_HELD as u64 {
        call(
            &manager,
            &caller(&format!("w{number}"), number, Some(process.pid())),
        );
    }
    let further = caller("further", u64::MAX, Some(process.pid()));
    assert_eq!(why(manager.admit(&further, true)), Refusal::Full);
    call(&manager, &caller("other", 1, Some(other.pid())));
    assert!(manager.unregister_worker(&"w0".into()).await);
    call(&manager, &further);
    other.end();
    process.end();
}

/// A worker of another machine.
fn remote(worker: &str, incarnation: u64, address: &str, certificate: Option<&str>) -> Caller {
    let mut caller = caller(worker, incarnation, None);
    caller.peer = Peer::Remote {
        address: address.parse().expect("an address"),
        certificate: certificate.map(str::to_owned),
    };
    caller
}

#[tokio::test]
async fn one_address_without_certificates_holds_only_so_many_ids() {
    let manager = manager();
    for number in 0..MAX_HELD as u64 {
        // However many ports there are.
        let address = format!("192.0.2.1:{}", number + 1);
        let one = remote(&format!("w{number}"), number, &address, None);
        let admission = manager.admit(&one, true);
        assert!(matches!(admission, Admission::Welcome(_)), "{number}");
    }
    let further = |address, certificate| remote("further", u64::MAX, address, certificate);
    let refused = manager.admit(&further("192.0.2.1:1", None), true);
    assert_eq!(why(refused), Refusal::Full);
    call(&manager, &further("192.0.2.1:1", Some("further")));
    call(&manager, &further("192.0.2.2:1", None));
}

#[tokio::test]
async fn without_a_certificate_an_id_is_kept_for_the_address_that_has_it() {
    let manager = manager();
    assert_eq!(call(&manager, &remote("w", 1, "192.0.2.1:1", None)), ["w"]);
    // Nobody else gets it.
    let other = manager.admit(&remote("w", 2, "192.0.2.2:1", None), false);
    assert!(matches!(other, Admission::Welcome(_)), "{other:?}");
    assert_eq!(ids(&manager), ["w", "w~2"]);
    // Who says its incarnation may be it, from another address, and waits until nobody is connected as it.
    let moved = manager.admit(&remote("w", 1, "192.0.2.3:1", None), false);
    assert!(matches!(moved, Admission::Undecided), "{moved:?}");
    assert_eq!(ids(&manager), ["w", "w~2"]);
    // It is back, and so is another life of it once nobody is connected.
    assert_eq!(
        call(&manager, &remote("w", 1, "192.0.2.1:2", None)),
        ["w", "w~2"]
    );
    let next = remote("w", 9, "192.0.2.1:3", None);
    assert!(matches!(manager.admit(&next, false), Admission::Undecided));
}

#[tokio::test]
async fn doubles_beyond_all_looks_have_numbers_of_their_own() {
    let manager = manager();
    let count = MAX_LOOKS as u64 + 20;
    for number in 0..count {
        call(&manager, &caller("w", number, None));
    }
    let mut wanted: Vec<_> = (2..=count).map(|number| format!("w~{number}")).collect();
    wanted.push("w".to_owned());
    wanted.sort();
    assert_eq!(ids(&manager), wanted);
}

/// A thread of its own, because a session that never rests would keep the others of its runtime from theirs.
#[test]
fn a_session_whose_worker_is_away_ends_with_its_manager() {
    let (over, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let manager = manager();
            call(&manager, &caller("w", 1, None));
            let mut session = manager.inner.lock().workers["w"].ended.clone();
            tokio::task::yield_now().await;
            drop(manager);
            let _task_is_over = session.changed().await;
            let _who_waits = over.send(());
        });
    });
    let ended = ended.recv_timeout(Duration::from_secs(10));
    assert!(ended.is_ok(), "nobody is left who could stop it");
}
