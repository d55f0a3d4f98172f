//! Whoever a control is for, and whenever a worker comes.

use telemetry_core::emit::SamplingRule;

use super::*;

fn toggle(enabled: bool) -> Control {
    Control::Toggle { enabled }
}

fn rate(rate: f64, pattern: &str) -> Control {
    Control::Sampling(SamplingRule::new(rate, [pattern.to_owned()]))
}

fn desired() -> Desired {
    Desired::new(PolicySpec::default(), RuleSet::default(), 1)
}

fn worker(id: &str) -> Target {
    Target::Worker(id.into())
}

#[test]
fn later_controls_win_whoever_they_are_for() {
    let desired = desired();
    let a = desired.enter(&"a".into(), Some("p"));
    let b = desired.enter(&"b".into(), Some("p"));
    desired.apply(&worker("a"), &toggle(false)).expect("known");
    assert_eq!(
        (a.borrow().spec.enabled, b.borrow().spec.enabled),
        (false, true)
    );
    desired
        .apply(&Target::Pool("p".into()), &toggle(true))
        .expect("valid");
    assert!(a.borrow().spec.enabled);
}

#[test]
fn a_worker_that_registers_later_starts_from_its_pool() {
    let desired = desired();
    desired
        .apply(&Target::Pool("p".into()), &toggle(false))
        .expect("valid");
    desired
        .apply(&Target::All, &rate(0.5, "tool.*"))
        .expect("valid");
    let in_pool = desired.enter(&"a".into(), Some("p"));
    let alone = desired.enter(&"b".into(), None);
    assert!(!in_pool.borrow().spec.enabled);
    assert!(alone.borrow().spec.enabled);
    assert_eq!(
        (
            in_pool.borrow().spec.sampling.len(),
            alone.borrow().spec.sampling.len()
        ),
        (1, 1)
    );
}

#[test]
fn a_muted_worker_stays_muted_until_it_is_forgotten() {
    let desired = desired();
    let id = WorkerId::from("a");
    drop(desired.enter(&id, None));
    desired.apply(&worker("a"), &toggle(false)).expect("known");
    assert!(!desired.enter(&id, None).borrow().spec.enabled);
    desired.leave(&id);
    assert!(desired.enter(&id, None).borrow().spec.enabled);
}

#[test]
fn a_muted_worker_that_is_away_stays_muted_and_hears_of_its_pool() {
    let desired = desired();
    let id = WorkerId::from("a");
    drop(desired.enter(&id, Some("p")));
    desired.apply(&worker("a"), &toggle(false)).expect("known");
    desired.rest(&id);
    assert!(desired.apply(&worker("a"), &toggle(true)).is_err(), "away");
    let pool = Target::Pool("p".into());
    desired.apply(&pool, &rate(0.5, "*")).expect("valid");
    let back = desired.enter(&id, Some("p"));
    assert_eq!(
        (
            back.borrow().spec.enabled,
            back.borrow().spec.sampling.len()
        ),
        (false, 1)
    );
    desired.rest(&id);
    assert!(
        desired.enter(&id, Some("q")).borrow().spec.enabled,
        "another pool"
    );
}

#[test]
fn the_oldest_of_those_that_are_away_is_forgotten() {
    let desired = desired();
    let id = |n: usize| WorkerId::from(format!("w{n}"));
    for n in 0..=MAX_RESTING {
        drop(desired.enter(&id(n), None));
        let one = Target::Worker(id(n));
        desired.apply(&one, &toggle(false)).expect("known");
        desired.rest(&id(n));
    }
    assert!(desired.enter(&id(0), None).borrow().spec.enabled);
    assert!(!desired.enter(&id(1), None).borrow().spec.enabled);
}

#[test]
fn an_invalid_control_changes_nothing_anywhere() {
    let desired = desired();
    let watch = desired.enter(&"a".into(), None);
    let before = watch.borrow().clone();
    for control in [rate(1.5, "*"), rate(f64::NAN, "*"), rate(0.5, "[")] {
        assert!(
            desired.apply(&Target::All, &control).is_err(),
            "{control:?}"
        );
    }
    assert_eq!(*watch.borrow(), before);
    assert_eq!(*desired.enter(&"b".into(), None).borrow(), before);
}

#[test]
fn a_control_to_nobody_says_so() {
    let desired = desired();
    let refused = desired
        .apply(&worker("ghost"), &toggle(true))
        .expect_err("unknown");
    assert!(refused.to_string().contains("ghost"), "{refused}");
}

#[test]
fn revisions_grow_with_every_change() {
    let desired = desired();
    let watch = desired.enter(&"a".into(), None);
    let (first, _) = desired.apply(&Target::All, &toggle(false)).expect("valid");
    let (second, ids) = desired.apply(&worker("a"), &toggle(true)).expect("valid");
    assert!(second > first);
    assert_eq!(
        (watch.borrow().spec.revision, ids),
        (second, vec![WorkerId::from("a")])
    );
}
