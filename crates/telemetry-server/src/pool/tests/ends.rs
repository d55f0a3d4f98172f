//! How processes end: recycled, tainted, told to stop, dropped; and what they leave on stderr.

use std::io::Write;

use rustix::process::test_kill_process;

use super::*;

/// Text that the workers wrote to stderr.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Waits until no process has this id.
async fn gone(pid: u32) {
    soon(async {
        while test_kill_process(raw(pid)).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn recycled_worker_may_finish_first() {
    let rig = Rig::new();
    let out = rig.dir.path().join("out");
    let script = format!(
        "trap 'echo finished >> {0}; exit 0' TERM; echo up >> {0}; while :; do sleep 0.01; done",
        out.display()
    );
    let pool = rig.start(rig.script(&script)).await;
    let first = pid(&soon(pool.ready()).await);
    written(&out).await;
    pool.add_commands("p-1", 3);
    soon(pool.recycle("p-1")).await.unwrap();
    assert!(
        fs::read_to_string(&out)
            .unwrap()
            .starts_with("up\nfinished\n")
    );
    let status = soon(pool.ready()).await;
    assert_ne!(pid(&status), first);
    assert_eq!(
        (status.workers[0].restarts, status.workers[0].failures),
        (1, 0)
    );
    let terminated = &rig.named("snakepit.pool.worker.terminated")[0];
    assert_eq!(metadata(terminated, "planned"), "true");
    assert_eq!(metadata(terminated, "exit_code"), "0");
    assert_eq!(measurement(terminated, "total_commands"), 3);
    assert_eq!(rig.named("snakepit.worker.recycled").len(), 1);
    assert!(rig.named("snakepit.worker.crash").is_empty());
    pool.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn tainted_worker_is_replaced_with_its_reason() {
    let rig = Rig::new();
    let pool = rig.start(rig.script("exec sleep 100")).await;
    soon(pool.taint("p-1", "wrong answers")).await.unwrap();
    assert_eq!(
        metadata(&rig.named("snakepit.worker.tainted")[0], "reason"),
        "wrong answers"
    );
    let restarted = &rig.named("snakepit.pool.worker.restarted")[0];
    assert_eq!(metadata(restarted, "reason"), "wrong answers");
    let unknown = pool.taint("p-9", "").await.unwrap_err().to_string();
    assert_eq!(
        unknown,
        "pool \"p\" has no worker \"p-9\"; its workers are p-1 to p-1"
    );
    pool.shutdown(Duration::ZERO).await;
    assert!(matches!(
        pool.recycle("p-1").await,
        Err(PoolError::ShutDown { .. })
    ));
}

#[tokio::test]
async fn old_worker_is_recycled() {
    let rig = Rig::new();
    let mut config = rig.script("exec sleep 100");
    config.max_lifetime = Some(Duration::from_secs(1));
    let pool = rig.start(config).await;
    // The next one may be recycled too before this is looked at.
    soon(pool.until(|status| status.workers[0].restarts > 0)).await;
    assert_eq!(
        metadata(&rig.named("snakepit.worker.recycled")[0], "reason"),
        "max_lifetime"
    );
    pool.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn worker_that_ignores_the_request_to_stop_is_killed_in_time() {
    let rig = Rig::new();
    let out = rig.dir.path().join("out");
    let script = format!(
        "trap '' TERM; echo up > {}; while :; do sleep 0.05; done",
        out.display()
    );
    let pool = rig.start(rig.script(&script)).await;
    written(&out).await;
    let began = Instant::now();
    tokio::join!(
        pool.shutdown(Duration::from_millis(200)),
        pool.shutdown(Duration::from_secs(100)),
    );
    let took = began.elapsed();
    // The shorter of the two times counts.
    assert!((200..60_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(
        pool.status().workers[0].last_exit.as_deref(),
        Some("signal 9 (SIGKILL)")
    );
    pool.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn dropped_pool_leaves_no_process_behind() {
    let rig = Rig::new();
    let out = rig.dir.path().join("out");
    let script = format!("sleep 1000 & echo $! > {}; wait", out.display());
    let pool = rig.start(rig.script(&script)).await;
    let worker = pid(&pool.status());
    let child: u32 = written(&out).await.trim().parse().unwrap();
    drop(pool);
    gone(worker).await;
    // Where nobody reaps orphans it stays as a zombie, which runs no more.
    soon(async {
        while running(child) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Whether the process exists and is no zombie.
fn running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

#[tokio::test]
async fn stderr_is_telemetry_and_everything_else() {
    let rig = Rig::new();
    let written = Written::default();
    let mut config = rig.script(
        r#"printf 'hello\n\377TELEMETRY:no\n' >&2
        echo 'TELEMETRY:{"event":"tool.execution.stop","measurements":{"duration":5},"metadata":{"tool":"t","worker_id":"liar"}}' >&2
        echo 'TELEMETRY:{"event":"no.such.event"}' >&2
        echo 'TELEMETRY:{broken' >&2
        printf 'the end' >&2; exec sleep 100 2>&-"#,
    );
    config.stderr = StderrTarget::Writer(Arc::new(Mutex::new(written.clone())));
    let pool = rig.start(config).await;
    soon(async {
        while !written.0.lock().unwrap().ends_with(b"the end") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let expected: &[u8] = b"hello\n\xffTELEMETRY:no\nTELEMETRY:{\"event\":\"no.such.event\"}\n\
                            TELEMETRY:{broken\nthe end";
    assert_eq!(
        String::from_utf8_lossy(&written.0.lock().unwrap()),
        String::from_utf8_lossy(expected)
    );
    let [event] = &rig.named("snakepit.python.tool.execution.stop")[..] else {
        panic!("{:?}", rig.events.events());
    };
    assert_eq!(metadata(event, "worker_id"), "p-1");
    assert_eq!(metadata(event, "pool_name"), "p");
    assert_eq!(metadata(event, "transport"), "stderr");
    let counts = &pool.status().workers[0].stderr;
    counts.check().unwrap();
    assert_eq!((counts.received, counts.dispatched), (3, 1));
    assert_eq!(
        counts
            .rejected
            .get(telemetry_core::ledger::Reason::UnknownEvent),
        1
    );
    assert_eq!(
        counts
            .rejected
            .get(telemetry_core::ledger::Reason::DecodeError),
        1
    );
    pool.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn everyone_who_asks_for_a_new_process_is_told_of_it() {
    let rig = Rig::new();
    let program = rig.dir.path().join("worker");
    install(&program);
    let mut config = rig.script("exec sleep 100");
    config.command[0] = program.to_str().unwrap().into();
    let pool = rig.start(config).await;
    soon(pool.ready()).await;
    fs::remove_file(&program).unwrap();
    let first = pool.recycle("p-1");
    let later = async {
        soon(pool.until(|status| status.workers[0].failures > 0)).await;
        let second = pool.recycle("p-1");
        let repaired = async {
            let failures = pool.status().workers[0].failures;
            soon(pool.until(|status| status.workers[0].failures > failures + 1)).await;
            install(&program);
        };
        tokio::join!(second, repaired).0
    };
    let (first, second) = soon(async { tokio::join!(first, later) }).await;
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    pool.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn pool_dropped_amid_its_shutdown_is_forgotten_by_the_manager() {
    let rig = Rig::new();
    let mut config = rig.script("exec sleep 100");
    config.telemetry.transport = Transport::Stream;
    let pool = rig.start(config).await;
    assert_eq!(rig.manager.list_streams().len(), 1);
    let mut changes = rig.manager.subscribe();
    let ending = tokio::time::timeout(Duration::ZERO, pool.shutdown(PATIENCE));
    assert!(ending.await.is_err(), "nobody had time to end");
    drop(pool);
    soon(async {
        while !rig.manager.list_streams().is_empty() {
            changes.changed().await.unwrap();
        }
    })
    .await;
}

/// Where a pool's workers write stderr to: a pipe, or files that outlive the manager.
async fn start_both(rig: &Rig, config: &PoolConfig) -> [Pool; 2] {
    let mut named = config.clone();
    named.name = "q".into();
    let run_dir = RunDir::lock(&rig.dir.path().join("held"), "test").unwrap();
    let held = Pool::start_in(&rig.manager, named, &run_dir).await.unwrap();
    [rig.start(config.clone()).await, held]
}

#[tokio::test]
async fn grandchild_that_holds_stderr_delays_no_stop_and_no_restart() {
    let rig = Rig::new();
    let out = rig.dir.path().join("out");
    // It leaves the group, so nothing ends it.
    let script = format!(
        "setsid sh -c 'echo $$ > {0}-$TELEMETRY_WORKER_ID; exec sleep 1000' & \
         while ! [ -s {0}-$TELEMETRY_WORKER_ID ]; do sleep 0.01; done; exec sleep 1000",
        out.display()
    );
    let mut config = rig.script(&script);
    config.grace = Duration::from_secs(600);
    for pool in start_both(&rig, &config).await {
        let id = format!("{}-1", pool.name());
        let path = format!("{}-{id}", out.display());
        let left: u32 = written(Path::new(&path)).await.trim().parse().unwrap();
        let first = pid(&pool.status());
        soon(pool.recycle(&id)).await.unwrap();
        assert_ne!(pid(&soon(pool.ready()).await), first);
        soon(pool.shutdown(Duration::from_secs(600))).await;
        assert!(running(left), "it holds stderr all the time");
        kill_process(raw(left), Signal::KILL).unwrap();
    }
}

#[tokio::test]
async fn what_a_worker_left_in_its_group_ends_before_the_next_one_starts() {
    let rig = Rig::new();
    let out = rig.dir.path().join("out");
    let script = format!("sleep 1000 & echo $! >> {}; exit 1", out.display());
    let mut config = rig.script(&script);
    (config.restart.base, config.restart.cap) =
        (Duration::from_secs(600), Duration::from_secs(600));
    let pool = rig.start(config).await;
    soon(pool.until(|status| status.workers[0].last_exit.is_some())).await;
    let daemon: u32 = written(&out).await.trim().parse().unwrap();
    soon(async {
        while running(daemon) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    pool.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn the_rest_of_a_group_may_finish_too() {
    let rig = Rig::new();
    let out = rig.dir.path().join("out");
    // The leader ends at once; what it started takes its time, and holds no stderr.
    let script = format!(
        "(trap 'sleep 0.3; echo finished >> {0}; exit' TERM; echo up >> {0}; \
         while :; do sleep 0.01; done) 2>&- & wait",
        out.display()
    );
    let mut config = rig.script(&script);
    config.grace = Duration::from_secs(600);
    let pool = rig.start(config).await;
    written(&out).await;
    soon(pool.shutdown(Duration::from_secs(600))).await;
    assert_eq!(fs::read_to_string(&out).unwrap(), "up\nfinished\n");
    let status = pool.status();
    assert_eq!(status.workers[0].last_signal, Some(15), "{status:?}");
}

#[tokio::test]
async fn what_a_worker_wrote_last_is_shown_with_its_end() {
    let rig = Rig::new();
    let script = "echo one >&2; echo 'TELEMETRY:{\"event\":\"tool.execution.stop\"}' >&2; \
                  echo two >&2; exit 3";
    for pool in start_both(&rig, &rig.script(script)).await {
        let status = soon(pool.until(|status| status.workers[0].failures >= 2)).await;
        let worker = &status.workers[0];
        assert_eq!(worker.last_stderr.as_deref(), Some("two"));
        assert_eq!((worker.last_exit_code, worker.last_signal), (Some(3), None));
        assert!(worker.last_pid.is_some() && !worker.last_exit_planned);
        pool.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn signal_that_ends_worker_and_pool_is_no_crash() {
    let rig = Rig::new();
    let pool = rig.start(rig.script("exec sleep 1000")).await;
    let worker = pid(&soon(pool.ready()).await);
    kill_process(raw(worker), Signal::TERM).unwrap();
    soon(pool.shutdown(PATIENCE)).await;
    assert!(rig.named("snakepit.worker.crash").is_empty());
    let status = pool.status();
    assert_eq!(status.workers[0].last_signal, Some(15));
    assert!(status.workers[0].last_exit_planned, "{status:?}");
}

#[tokio::test]
async fn pool_that_is_dropped_while_it_starts_a_worker_leaves_none() {
    let rig = Rig::new();
    let out = rig.dir.path().join("out");
    let mut config = rig.script(&format!("echo $$ >> {}; exec sleep 1000", out.display()));
    config.size = 20;
    let starting = tokio::time::timeout(Duration::ZERO, Pool::start(&rig.manager, config));
    assert!(starting.await.is_err(), "it takes some time");
    // Whoever comes after on the thread that starts them knows that the last one was dealt with.
    let mut after = rig.script("exit 0");
    after.name = "q".into();
    let after = rig.start(after).await;
    for pid in fs::read_to_string(&out).unwrap_or_default().lines() {
        gone(pid.parse().unwrap()).await;
    }
    after.shutdown(Duration::ZERO).await;
}
