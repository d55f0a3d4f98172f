//! Real processes: what a pool starts, notices, replaces and ends, and the events that tell of it.
//!
//! The workers are shell scripts, so they report over stderr; streams are tested with real workers
//! across the crates.

mod ends;
mod stolen;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use telemetry_core::{Event, Value};
use tempfile::TempDir;

use super::*;
use crate::dispatch::MemoryHandler;
use crate::manager::ManagerConfig;

/// Longest a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A manager, its events, and a directory.
struct Rig {
    manager: Manager,
    events: MemoryHandler,
    dir: TempDir,
}

impl Rig {
    fn new() -> Self {
        let mut config = ManagerConfig::new("n1");
        config.catalog_mode = crate::pipeline::CatalogMode::Enforce;
        let manager = Manager::start(config).unwrap();
        let events = MemoryHandler::new(10_000);
        manager
            .dispatcher()
            .attach("test", "*", events.clone())
            .unwrap();
        Self {
            manager,
            events,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A pool `p` whose workers run a shell script and report over stderr.
    fn script(&self, script: &str) -> PoolConfig {
        let mut config =
            PoolConfig::new("p", ["/bin/sh", "-c", script], self.dir.path().join("run"));
        config.telemetry.transport = Transport::Stderr;
        config.restart.base = Duration::from_millis(1);
        config.restart.cap = Duration::from_millis(20);
        config
    }

    async fn start(&self, config: PoolConfig) -> Pool {
        Pool::start(&self.manager, config)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    async fn refused(&self, config: PoolConfig) -> PoolError {
        Pool::start(&self.manager, config)
            .await
            .map(drop)
            .expect_err("must be refused")
    }

    fn named(&self, name: &str) -> Vec<Event> {
        let all = self.events.events();
        all.into_iter()
            .filter(|event| &*event.name == name)
            .collect()
    }
}

fn metadata<'e>(event: &'e Event, key: &str) -> &'e str {
    let found = event.metadata.iter().find(|(name, _)| name == key);
    found.map_or_else(|| panic!("no {key} in {event:?}"), |(_, value)| value)
}

fn measurement(event: &Event, key: &str) -> i64 {
    match event.measurements.iter().find(|(name, _)| name == key) {
        Some((_, Value::Int(number))) => *number,
        other => panic!("{key}: {other:?} in {event:?}"),
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it never happened")
}

fn pid(status: &PoolStatus) -> u32 {
    status.workers[0].pid.expect("a running process")
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// Waits until a script has written the file.
async fn written(path: &Path) -> String {
    soon(async {
        loop {
            match fs::read_to_string(path) {
                Ok(content) if content.ends_with('\n') => return content,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await
}

/// Puts a shell at `path`. A link: a file just written could not be run while the child of another
/// test has it open.
fn install(path: &Path) {
    std::os::unix::fs::symlink("/bin/sh", path).unwrap();
}

#[tokio::test]
async fn command_that_is_not_found_names_command_and_path() {
    let rig = Rig::new();
    let mut config = rig.script("");
    config.command = vec!["no-such-worker".into()];
    config.env = vec![("PATH".into(), "/a:/b".into())];
    assert_eq!(
        rig.refused(config).await.to_string(),
        "pool \"p\": command \"no-such-worker\" not found; searched PATH=/a:/b; \
         install it, give its full path, or set PATH in the pool's env"
    );
}

#[tokio::test]
async fn file_that_is_not_executable_is_refused() {
    let rig = Rig::new();
    let file = rig.dir.path().join("worker.py");
    fs::write(&file, "").unwrap();
    let mut config = rig.script("");
    config.command = vec![file.to_str().unwrap().into()];
    let error = rig.refused(config).await;
    assert!(
        matches!(&error, PoolError::NotExecutable { path, .. } if *path == file),
        "{error}"
    );
}

#[tokio::test]
async fn unusable_directories_are_refused() {
    let rig = Rig::new();
    let mut config = rig.script("");
    config.run_dir = rig.dir.path().join("d".repeat(100));
    let error = rig.refused(config).await.to_string();
    assert!(
        error.contains("the system allows 107; use a shorter directory or name"),
        "{error}"
    );

    let mut config = rig.script("");
    config.run_dir = rig.dir.path().join("open");
    fs::create_dir(&config.run_dir).unwrap();
    fs::set_permissions(&config.run_dir, fs::Permissions::from_mode(0o777)).unwrap();
    let error = rig.refused(config).await.to_string();
    assert!(error.contains("others may write to it"), "{error}");

    let mut config = rig.script("");
    config.cwd = Some("/nowhere".into());
    let error = rig.refused(config).await.to_string();
    assert_eq!(error, "pool \"p\": cwd \"/nowhere\" is not a directory");
}

#[tokio::test]
async fn workers_are_told_where_they_may_dial_in_and_not_to_serve_instead() {
    let rig = Rig::new();
    let out = rig.dir.path().join("env");
    let mut config =
        rig.script("env | grep ^TELEMETRY_ > $OUT.$$; mv $OUT.$$ $OUT; exec sleep 100");
    config.env = vec![("OUT".into(), out.to_str().unwrap().into())];
    config.telemetry.transport = Transport::Stream;
    config.manager = Some("unix:/run/t/manager.sock".parse().unwrap());
    let pool = rig.start(config).await;
    let told = written(&out).await;
    assert!(
        told.contains("TELEMETRY_MANAGER=unix:/run/t/manager.sock\n"),
        "{told}"
    );
    assert!(told.contains("TELEMETRY_ADDRESS=unix:"), "{told}");
    assert!(!told.contains("TELEMETRY_BACKEND"), "{told}");
    pool.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn each_worker_is_told_who_it_is() {
    let rig = Rig::new();
    let out = rig.dir.path().join("env-");
    let mut config = rig.script(
        "env | grep ^TELEMETRY_ | sort > $OUT.$$; mv $OUT.$$ $OUT$TELEMETRY_WORKER_ID; exec sleep 100",
    );
    config.size = 2;
    config.env = vec![("OUT".into(), out.to_str().unwrap().into())];
    config.telemetry = WorkerTelemetry {
        sampling_rate: 0.5,
        max_buffer: Some(9),
        excluded_events: vec!["a.*".into(), "b".into()],
        resource_interval: Some(Duration::from_millis(250)),
        ..config.telemetry
    };
    let run = config.run_dir.clone();
    let pool = rig.start(config).await;
    for worker in ["p-1", "p-2"] {
        let told = written(&rig.dir.path().join(format!("env-{worker}"))).await;
        let address = run.join(format!("{worker}.sock"));
        assert_eq!(
            told.trim_end(),
            format!(
                "TELEMETRY_ADDRESS=unix:{}\nTELEMETRY_BACKEND=stderr\nTELEMETRY_DENY=a.*,b\n\
                 TELEMETRY_MAX_BUFFER=9\nTELEMETRY_POOL=p\nTELEMETRY_RESOURCE_INTERVAL_MS=250\n\
                 TELEMETRY_SAMPLING_RATE=0.5\nTELEMETRY_WORKER_ID={worker}",
                address.display()
            )
        );
    }
    assert_eq!(
        fs::metadata(&run).unwrap().permissions().mode() & 0o777,
        0o700
    );
    pool.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn no_duration_is_too_long_for_a_pool_or_its_manager() {
    let rig = Rig::new();
    let mut config = rig.script("exec sleep 100");
    config.grace = Duration::MAX;
    config.status_interval = Duration::MAX;
    config.max_lifetime = Some(Duration::MAX);
    config.restart.healthy_after = Duration::MAX;
    (config.restart.base, config.restart.cap) = (Duration::MAX, Duration::MAX);
    let delay = config.restart.delay(u32::MAX, u64::MAX);
    assert!(delay > Duration::from_secs(1));
    let pool = rig.start(config).await;
    soon(pool.ready()).await;
    soon(pool.recycle("p-1")).await.expect("it is there");
    soon(pool.shutdown(Duration::MAX)).await;
    assert!(soon(rig.manager.shutdown(Duration::MAX)).await);
    let handlers = rig.manager.dispatcher().shutdown(Duration::MAX);
    assert_eq!(handlers.len(), 1);
}

#[tokio::test]
async fn start_tells_of_itself_in_order() {
    let rig = Rig::new();
    let mut config = rig.script("exec sleep 100");
    config.status_interval = Duration::from_millis(10);
    let pool = rig.start(config).await;
    pool.load().set_busy_workers(7);
    pool.load().set_queue_depth(8);
    soon(pool.ready()).await;
    soon(async {
        while rig.named("snakepit.pool.status").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let names: Vec<String> = rig
        .events
        .events()
        .iter()
        .map(|event| event.name.to_string())
        .collect();
    assert_eq!(
        names[..7],
        [
            "snakepit.pool.init_started",
            "snakepit.pool.worker.spawn_started",
            "snakepit.pool.worker.spawned",
            "snakepit.pool.initialized",
            "snakepit.pool.worker_ready",
            "snakepit.pool.init_complete",
            "snakepit.pool.status",
        ]
    );
    let status = &rig.named("snakepit.pool.status")[0];
    assert_eq!(metadata(status, "pool_name"), "p");
    let numbers = [
        "available_workers",
        "busy_workers",
        "queue_depth",
        "total_workers",
    ];
    assert_eq!(numbers.map(|key| measurement(status, key)), [1, 7, 8, 1]);
    let spawned = &rig.named("snakepit.pool.worker.spawned")[0];
    assert_eq!(metadata(spawned, "worker_id"), "p-1");
    assert_eq!(
        metadata(spawned, "worker_pid"),
        pid(&pool.status()).to_string()
    );
    let complete = &rig.named("snakepit.pool.init_complete")[0];
    assert_eq!(measurement(complete, "total_workers"), 1);
    pool.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn killed_worker_is_restarted_under_its_id() {
    let rig = Rig::new();
    let pool = rig.start(rig.script("exec sleep 100")).await;
    let first = pid(&soon(pool.ready()).await);
    kill_process(raw(first), Signal::KILL).unwrap();
    let status = soon(pool.until(|status| {
        status.workers[0].state == WorkerState::Ready && status.workers[0].pid != Some(first)
    }))
    .await;
    let worker = &status.workers[0];
    assert_eq!(
        (worker.worker_id.as_str(), worker.restarts, worker.failures),
        ("p-1", 1, 1)
    );
    assert_eq!(worker.last_exit.as_deref(), Some("signal 9 (SIGKILL)"));

    assert_eq!(
        metadata(&rig.named("snakepit.worker.crash")[0], "reason"),
        "signal 9 (SIGKILL)"
    );
    let terminated = &rig.named("snakepit.pool.worker.terminated")[0];
    assert_eq!(metadata(terminated, "planned"), "false");
    assert_eq!(metadata(terminated, "worker_pid"), first.to_string());
    assert!(measurement(terminated, "lifetime") > 0);
    let restarted = &rig.named("snakepit.pool.worker.restarted")[0];
    assert_eq!(metadata(restarted, "previous_pid"), first.to_string());
    assert_eq!(metadata(restarted, "new_pid"), pid(&status).to_string());
    assert_eq!(measurement(restarted, "restart_count"), 1);
    assert_eq!(rig.named("snakepit.worker.restarted").len(), 1);
    pool.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn crash_loop_counts_failures_and_keeps_trying() {
    let rig = Rig::new();
    let pool = rig.start(rig.script("exit 3")).await;
    let status = soon(pool.until(|status| status.workers[0].failures >= 4)).await;
    assert_eq!(status.workers[0].last_exit.as_deref(), Some("exit code 3"));
    assert!(rig.named("snakepit.worker.crash").len() >= 3);
    assert_eq!(
        metadata(
            &rig.named("snakepit.pool.worker.terminated")[0],
            "exit_code"
        ),
        "3"
    );
    pool.shutdown(Duration::ZERO).await;
    assert_eq!(pool.status().workers[0].state, WorkerState::Stopped);
}

#[tokio::test]
async fn program_that_vanishes_is_tried_again() {
    let rig = Rig::new();
    let program = rig.dir.path().join("worker");
    install(&program);
    let mut config = rig.script("exec sleep 100");
    config.command[0] = program.to_str().unwrap().into();
    let pool = rig.start(config).await;
    let first = pid(&soon(pool.ready()).await);
    fs::remove_file(&program).unwrap();
    kill_process(raw(first), Signal::KILL).unwrap();
    soon(pool.until(|status| status.workers[0].failures >= 3)).await;
    let failed = &rig.named("snakepit.pool.worker.spawn_failed")[0];
    assert!(
        metadata(failed, "reason").contains("cannot start"),
        "{failed:?}"
    );
    assert_eq!(metadata(failed, "retry_count"), "1");
    install(&program);
    soon(pool.ready()).await;
    pool.shutdown(Duration::ZERO).await;
}
