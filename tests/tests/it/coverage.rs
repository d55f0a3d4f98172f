//! Every event of the catalog that the manager, its dispatcher or a worker emits is seen to arrive.
//!
//! The events of the host program have typed helpers with tests of their own. An event of the manager
//! that nothing emits any more, or that is new in the catalog without an emitter, fails this story.

use std::collections::BTreeSet;
use std::time::Duration;

use telemetry_core::{
    EventRef,
    catalog::{Catalog, Origin, Unit},
};
use telemetry_server::{ManagerConfig, pool::Pool};
use telemetry_tests::{
    NODE, PATIENCE, POOL, Proxy, Puppet, TestManager, Witness, puppet_pool, within, worker,
};

const PUPPET: &str = env!("CARGO_BIN_EXE_puppet");

fn names(origins: &[Origin]) -> BTreeSet<String> {
    let specs = Catalog::builtin().events().iter();
    specs
        .filter(|spec| origins.contains(&spec.origin))
        .map(|spec| spec.name.to_string())
        .collect()
}

fn missing(expected: &BTreeSet<String>, witness: &Witness) -> Option<BTreeSet<String>> {
    let seen = witness.count_by_name();
    let missing: BTreeSet<_> = expected
        .iter()
        .filter(|name| !seen.contains_key(*name))
        .cloned()
        .collect();
    (!missing.is_empty()).then_some(missing)
}

/// Waits until every expected event was seen, or says which were not.
async fn all_seen(expected: &BTreeSet<String>, witness: &Witness) {
    let mut left = None;
    let all = async {
        loop {
            // Counted first: what comes after it is waited for.
            let before = witness.count();
            left = missing(expected, witness);
            if left.is_none() {
                return;
            }
            witness.until_count(before + 1).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE - Duration::from_secs(5), all).await;
    assert!(in_time.is_ok(), "nothing emits {left:#?}");
}

/// A manager with a witness to everything, which also tells of each message.
fn manager() -> TestManager {
    let mut config = ManagerConfig::new(NODE);
    config.message_events = true;
    let manager = TestManager::with(config);
    manager
        .dispatcher()
        .attach("all", "*", manager.witness().handler())
        .expect("a free id");
    manager
}

#[tokio::test]
async fn every_event_of_the_manager_and_its_dispatcher_is_seen_to_arrive() {
    let expected = names(&[Origin::Manager, Origin::Dispatcher]);
    assert!(
        expected.len() > 15,
        "the catalog has lost its events of the manager: {expected:?}"
    );
    let (manager, dir) = (manager(), tempfile::tempdir().unwrap());
    let bad = |_: &EventRef<'_>| panic!("on purpose");
    manager
        .dispatcher()
        .attach("bad", "snakepit.pool.status", bad)
        .unwrap();

    // A pool in good health, then a crash, a wish and a complaint.
    let mut config = puppet_pool(PUPPET, dir.path());
    config.status_interval = Duration::from_millis(20);
    let pool = within("a pool", Pool::start(&manager, config))
        .await
        .unwrap();
    let name = format!("{POOL}-1");
    let mut first = Puppet::of(dir.path(), &name, None).await;
    within("a ready worker", pool.ready()).await;
    first.emit("tool.execution.start", 1).await;
    manager
        .witness()
        .until_named("snakepit.grpc.stream.message")
        .await;
    first.kill();
    let second = Puppet::of(dir.path(), &name, Some(first.pid)).await;
    within("a recycled worker", pool.recycle(&name))
        .await
        .unwrap();
    let third = Puppet::of(dir.path(), &name, Some(second.pid)).await;
    within("a tainted worker", pool.taint(&name, "suspicious"))
        .await
        .unwrap();
    Puppet::of(dir.path(), &name, Some(third.pid)).await;

    // A worker whose program vanishes between its death and its restart.
    let program = dir.path().join("vanishing");
    // A link: a copy could not be run while another thread's child has it open for writing.
    std::os::unix::fs::symlink(PUPPET, &program).unwrap();
    let mut config = puppet_pool(program.to_str().unwrap(), dir.path());
    config.name = "short-lived".to_owned();
    let short_lived = within("a pool", Pool::start(&manager, config))
        .await
        .unwrap();
    let doomed = Puppet::of(dir.path(), "short-lived-1", None).await;
    std::fs::remove_file(&program).unwrap();
    doomed.kill();

    // A worker that lives on while its stream is cut.
    let steady = worker().id("steady").start();
    let cable = Proxy::start(steady.dir().join("cable.sock"), steady.socket()).unwrap();
    let id = manager.register(&format!("unix:{}", cable.path().display()), steady.id());
    manager.streaming(&id).await;
    assert_eq!(cable.cut(), 1);
    manager
        .until("a second stream", &id, |info| info.streams == 2)
        .await;
    manager.balanced(&steady).await;

    all_seen(&expected, manager.witness()).await;
    short_lived.shutdown(PATIENCE).await;
    pool.shutdown(PATIENCE).await;
    assert_eq!(manager.totals().ledger.check(), Ok(()));
}

#[tokio::test]
async fn every_event_of_workers_is_seen_to_arrive_with_all_its_keys() {
    let (manager, worker) = (manager(), worker().start());
    manager.connect(&worker).await;
    let catalog = Catalog::builtin();
    let specs: Vec<_> = catalog
        .events()
        .iter()
        .filter(|spec| spec.origin == Origin::Worker)
        .collect();
    assert!(
        specs.len() > 15,
        "the catalog has lost its events of workers"
    );
    for spec in &specs {
        let measurements: Vec<_> = spec
            .measurements
            .iter()
            .map(|key| &catalog.measurement_keys()[key.index()])
            .map(|key| {
                (
                    &*key.name,
                    if key.unit == Unit::None {
                        1.5.into()
                    } else {
                        7_i64.into()
                    },
                )
            })
            .collect();
        let metadata: Vec<_> = spec
            .metadata
            .iter()
            .map(|key| (&*catalog.metadata_keys()[key.index()].name, "text"))
            .collect();
        let name = spec.wire_name.as_deref().unwrap();
        let outcome = worker.telemetry().emit(name, &measurements, &metadata, "");
        assert_eq!(outcome, telemetry_core::Outcome::Accepted, "{name}");
    }

    all_seen(&names(&[Origin::Worker]), manager.witness()).await;
    let account = manager.balanced(&worker).await;
    assert_eq!(account.manager.ledger.dispatched, specs.len() as u64);
    assert_eq!(account.manager.ledger.notes.total(), 0, "no key is unknown");
    let events = manager.witness().events();
    for spec in specs {
        let event = events.iter().find(|event| event.name == spec.name).unwrap();
        for key in &spec.measurements {
            let key = &catalog.measurement_keys()[key.index()].name;
            assert!(event.measurement(key).is_some(), "{}: {key}", spec.name);
        }
        for key in &spec.metadata {
            let key = &catalog.metadata_keys()[key.index()].name;
            assert!(event.metadata(key).is_some(), "{}: {key}", spec.name);
        }
    }
}
