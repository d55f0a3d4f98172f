//! What a manager's file says about workers is what they understand: nothing that it takes is refused by them.

use std::fs;

use telemetry_client::Config as WorkerConfig;
use telemetry_core::emit::Policy;
use telemetry_server::{Manager, ManagerConfig, config::Config, pool::Pool};
use telemetry_tests::{PATIENCE, eventually};

/// The settings of a worker whose manager has this `[telemetry]`, as it reads them; the first fault is an error.
async fn settings(telemetry: &str) -> WorkerConfig {
    let dir = tempfile::tempdir().expect("a directory");
    let told = dir.path().join("told");
    let script = format!(
        "env > {0}.tmp; mv {0}.tmp {0}; exec sleep 1000",
        told.display()
    );
    let text = format!(
        "[manager]\nrun_dir = {:?}\n[telemetry]\n{telemetry}\n\
         [[pool]]\nname = \"p\"\ncommand = [\"sh\", \"-c\", {script:?}]\n",
        dir.path().join("run")
    );
    let config = Config::parse(&text, "t.toml").unwrap_or_else(|error| panic!("{error}"));
    let manager = Manager::start(ManagerConfig::new("n1")).expect("a manager");
    let pool = config.pools.into_iter().next().expect("one");
    let pool = Pool::start(&manager, pool).await.expect("it starts");
    let told = eventually("the environment", || fs::read_to_string(&told).ok()).await;
    pool.shutdown(PATIENCE).await;
    manager.shutdown(PATIENCE).await;
    let value = |variable: &str| {
        let mut lines = told.lines().filter_map(|line| line.split_once('='));
        lines
            .find(|(name, _)| *name == variable)
            .map(|(_, value)| value.to_owned())
    };
    WorkerConfig::from_lookup(value).unwrap_or_else(|error| panic!("{telemetry}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn globs_with_commas_in_them_stay_what_they_are() {
    let read = settings(r#"excluded_events = ["tool.[a,b]*", "x.{c,d}", "y.\\,z"]"#).await;
    assert_eq!(read.policy.deny, ["tool.[a,b]*", "x.{c,d}", "y.\\,z"]);
    let policy = Policy::compile(&read.policy).expect("valid");
    let is_off = |name| policy.threshold(name) == telemetry_core::emit::Threshold::FILTERED;
    assert!(is_off("tool.a1") && is_off("tool.b1") && is_off("x.d") && !is_off("tool.c1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_interval_is_taken() {
    for (written, is_on) in [
        ("0s", false),
        ("1ms", true),
        ("60d", true),
        ("106751991167d", true),
    ] {
        let read = settings(&format!("resource_interval = {written:?}")).await;
        assert_eq!(read.resource_interval.is_some(), is_on, "{written}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ends_of_what_is_allowed_are_taken() {
    let read = settings("max_buffer = 1_048_576\nsampling_rate = 1e-300").await;
    assert_eq!(read.max_buffer, 1_048_576);
    assert_eq!(read.policy.sampling[0].rate, 1e-300);
    let read = settings("max_buffer = 1\nsampling_rate = 0.0").await;
    assert_eq!(read.max_buffer, 1);
}
