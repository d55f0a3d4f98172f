//! Events that the catalog does not have, in a pool that observes.

use telemetry_core::catalog::{MetricKind, Unit};

use super::*;

fn learned(mode: CatalogMode) -> Arc<Learned> {
    let catalog = Arc::clone(Catalog::builtin());
    Arc::new(Learned::new(catalog, mode, [].into()))
}

/// A pipeline of this worker of the pool `default`.
fn worker(learned: &Arc<Learned>, id: &str) -> Rig {
    let Rig {
        pipeline,
        seen,
        quarantine,
    } = rig();
    let mut source = pipeline.source().clone();
    source.worker_id = Some(id.into());
    let mut pipeline = pipeline.learning(learned);
    pipeline.set_source(source);
    Rig {
        pipeline,
        seen,
        quarantine,
    }
}

fn process(rig: &mut Rig, name: &str) -> Frame<'static> {
    match rig.pipeline.process(&event(name).encode_to_vec()) {
        Frame::Dispatched => Frame::Dispatched,
        Frame::Rejected(reason) => Frame::Rejected(reason),
        other => panic!("{other:?}"),
    }
}

const REFUSED: Frame<'static> = Frame::Rejected(Reason::UnknownEvent);

#[test]
fn an_unknown_event_passes_under_its_own_name_and_is_marked() {
    let learned = learned(CatalogMode::Observe);
    let mut rig = worker(&learned, "w1");
    let mut event = event("inferense.stop");
    event.measurements.insert("step_ms".into(), int(7));
    event.measurements.insert("duration".into(), int(9));
    event.metadata.insert("tenant".into(), "a".into());
    event.metadata.insert("http.route".into(), "/".into());
    for _ in 0..2 {
        let bytes = event.encode_to_vec();
        assert_eq!(rig.pipeline.process(&bytes), Frame::Dispatched);
    }
    let seen = rig.seen.events().remove(0);
    assert_eq!(seen.name(), "snakepit.python.inferense.stop");
    assert!(seen.learned);
    assert_eq!(seen.measurement("step_ms"), Some(ValueRef::Int(7)));
    assert_eq!(seen.metadata("tenant"), Some("a"));
    assert_eq!(seen.metadata("pool_name"), Some("default"));
    let entry = learned.list().remove(0);
    assert_eq!((entry.count, entry.pool.as_deref()), (2, Some("default")));
    assert_eq!(entry.metadata, ["tenant"], "what a catalog can take");
    let mut keys: Vec<_> = entry.measurements.iter().collect();
    keys.sort_by_key(|it| &it.key);
    assert_eq!(
        (keys[0].key.as_str(), keys[0].unit),
        ("duration", Unit::Nanoseconds)
    );
    assert_eq!(
        (keys[1].key.as_str(), keys[1].unit),
        ("step_ms", Unit::Milliseconds)
    );
    assert_eq!(keys[1].kind, MetricKind::Histogram);
    assert_eq!(rig.quarantine.list().len(), 0);
    rig.pipeline.snapshot().check().expect("M1 closes");
}

#[test]
fn a_name_that_no_catalog_could_take_is_refused_as_ever() {
    let learned = learned(CatalogMode::Observe);
    let mut rig = worker(&learned, "w1");
    for name in ["pool.status", "call.stop", "a b", &"x".repeat(65)] {
        assert_eq!(process(&mut rig, name), REFUSED, "{name}");
    }
    assert_eq!((learned.list().len(), rig.quarantine.list().len()), (0, 4));
    // Of two wire names for one event the first has it.
    assert_eq!(process(&mut rig, "mine"), Frame::Dispatched);
    assert_eq!(process(&mut rig, "python.mine"), REFUSED);
}

#[test]
fn a_pool_that_enforces_learns_nothing() {
    let catalog = Arc::clone(Catalog::builtin());
    let modes = [("default".to_owned(), CatalogMode::Enforce)].into();
    let learned = Arc::new(Learned::new(catalog, CatalogMode::Observe, modes));
    let mut rig = worker(&learned, "w1");
    assert_eq!(process(&mut rig, "mine"), REFUSED);
    // In another pool it passes.
    let mut source = rig.pipeline.source().clone();
    source.pool_name = Some("other".into());
    rig.pipeline.set_source(source);
    assert_eq!(process(&mut rig, "mine"), Frame::Dispatched);
}

#[test]
fn a_measurement_that_the_catalog_lacks_passes_with_its_event() {
    let learned = learned(CatalogMode::Observe);
    let mut rig = worker(&learned, "w1");
    let mut event = event("tool.execution.stop");
    event.measurements.insert("tokens".into(), int(7));
    event.measurements.insert("bad key".into(), int(7));
    assert_eq!(
        rig.pipeline.process(&event.encode_to_vec()),
        Frame::Dispatched
    );
    let seen = rig.seen.events().remove(0);
    assert_eq!((seen.measurements.len(), seen.learned), (1, false));
    let notes = rig.pipeline.snapshot().notes;
    assert_eq!(notes.get(Note::UnknownMeasurement), 1);
    let entry = learned.list().remove(0);
    assert!(entry.known && entry.measurements[0].key == "tokens");
}

#[test]
fn names_are_bounded_and_what_comes_beyond_is_refused() {
    let learned = learned(CatalogMode::Observe);
    let mut rig = worker(&learned, "w1");
    let passed = (0..300).filter(|n| process(&mut rig, &format!("own.e{n}")) == Frame::Dispatched);
    assert_eq!(passed.count(), MAX_LEARNED_NAMES);
    assert_eq!(process(&mut rig, "own.e7"), Frame::Dispatched, "known");
    assert_eq!(process(&mut rig, "own.e290"), REFUSED);
    assert_eq!(learned.list().len(), MAX_LEARNED_NAMES);
}

#[test]
fn keys_of_an_event_are_bounded() {
    let learned = learned(CatalogMode::Observe);
    let mut rig = worker(&learned, "w1");
    for n in 0..100 {
        let mut event = event("mine");
        event.measurements.insert(format!("k{n}"), int(n));
        event.metadata.insert(format!("m{n}"), "x".into());
        assert_eq!(
            rig.pipeline.process(&event.encode_to_vec()),
            Frame::Dispatched
        );
    }
    let entry = learned.list().remove(0);
    let keys = entry.measurements.len() + entry.metadata.len();
    assert_eq!(keys, MAX_LEARNED_KEYS);
    let left_out = rig.pipeline.snapshot().notes.get(Note::UnknownMeasurement);
    assert_eq!(left_out, 100 - entry.measurements.len() as u64);
}

#[test]
fn no_worker_keeps_the_places_from_the_others() {
    let learned = learned(CatalogMode::Observe);
    let mut greedy = worker(&learned, "greedy");
    for n in 0..1_000 {
        process(&mut greedy, &format!("greedy.e{n}"));
    }
    let mut other = worker(&learned, "other");
    for _ in 0..3 {
        for n in 0..100 {
            let name = format!("mine.e{n}");
            assert_eq!(process(&mut other, &name), Frame::Dispatched, "{n}");
            process(&mut greedy, &format!("greedy.e{n}"));
        }
    }
    // It takes no more than half, and gets none back that way.
    let taken =
        (0..1_000).filter(|n| process(&mut other, &format!("more.e{n}")) == Frame::Dispatched);
    assert_eq!(taken.count(), 28);
    for n in 0..1_000 {
        process(&mut greedy, &format!("again.e{n}"));
    }
    let of_other = learned
        .list()
        .into_iter()
        .filter(|it| !it.wire_name.starts_with("gr"));
    let of_other = of_other.filter(|it| !it.wire_name.starts_with("again"));
    assert_eq!(of_other.count(), MAX_LEARNED_NAMES / 2);
    // Nothing that was counted is forgotten.
    let counted: u64 = learned.counts().iter().map(|(.., count)| count).sum();
    let dispatched = |rig: &Rig| rig.pipeline.snapshot().dispatched;
    assert_eq!(counted, dispatched(&greedy) + dispatched(&other));
}

#[test]
fn pools_beyond_the_bound_share_the_names_of_no_pool() {
    let learned = learned(CatalogMode::Observe);
    for n in 0..100 {
        let mut rig = worker(&learned, "w1");
        let mut source = rig.pipeline.source().clone();
        source.pool_name = Some(format!("p{n}").into());
        rig.pipeline.set_source(source);
        assert_eq!(process(&mut rig, "mine"), Frame::Dispatched);
    }
    let list = learned.list();
    assert!(list.len() <= MAX_LEARNING_POOLS + 1, "{}", list.len());
    let shared = list.iter().find(|it| it.pool.is_none()).expect("shared");
    assert!(shared.count >= 60, "{shared:?}");
}

#[test]
fn pools_of_the_configuration_have_their_names_whoever_came_before() {
    let modes = [("ours".to_owned(), CatalogMode::Observe)].into();
    let catalog = Arc::clone(Catalog::builtin());
    let learned = Arc::new(Learned::new(catalog, CatalogMode::Observe, modes));
    let of_pool = |pool: String| {
        let mut rig = worker(&learned, "w1");
        let mut source = rig.pipeline.source().clone();
        source.pool_name = Some(pool.into());
        rig.pipeline.set_source(source);
        assert_eq!(process(&mut rig, "mine"), Frame::Dispatched);
    };
    for n in 0..100 {
        of_pool(format!("p{n}"));
    }
    of_pool("ours".to_owned());
    let list = learned.list();
    assert!(list.iter().any(|it| it.pool.as_deref() == Some("ours")));
}

#[test]
fn handlers_that_come_later_get_what_was_learned_before() {
    let learned = learned(CatalogMode::Observe);
    let mut rig = worker(&learned, "w1");
    let dispatcher = rig.pipeline.lane.dispatcher().clone();
    let (late, other) = (MemoryHandler::new(9), MemoryHandler::new(9));
    process(&mut rig, "mine.done");
    dispatcher
        .attach("late", "snakepit.python.mine.*", late.clone())
        .expect("free");
    dispatcher
        .attach("other", "snakepit.python.yours.*", other.clone())
        .expect("free");
    process(&mut rig, "mine.done");
    assert!(dispatcher.detach("seen"));
    process(&mut rig, "mine.done");
    assert_eq!((rig.seen.seen(), late.seen(), other.seen()), (2, 2, 0));
}
