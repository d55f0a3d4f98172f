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

#[test]
fn labels_of_the_pool_win_over_those_a_worker_says_and_bring_their_rules() {
    use telemetry_core::rules::{Rule, RuleAction};

    use crate::policy::RuleOrigin;
    let labels = |pairs: &[(&str, &str)]| -> Labels {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    };
    let mut rule = Rule::new("r", ["*"], RuleAction::Drop);
    rule.target.label = labels(&[("tier", "1"), ("zone", "a")]);
    let desired = desired();
    let set = RuleSet::default().with(RuleOrigin::File, vec![rule]);
    let (revision, _) = desired.set_rules(set, 0);
    let id = WorkerId::from("w");
    let watch = desired.enter(&id, Some("p"));
    assert_eq!(
        (watch.borrow().rules.len(), watch.borrow().revision()),
        (0, revision)
    );
    desired.label(&id, labels(&[("tier", "1"), ("zone", "b")]));
    assert_eq!(watch.borrow().rules.len(), 0);
    desired.label_pool("p", labels(&[("zone", "a")]));
    assert_eq!(watch.borrow().rules.len(), 1);
    assert!(watch.borrow().revision() > revision);
    assert_eq!(desired.labels(&id), labels(&[("tier", "1"), ("zone", "a")]));
    // It comes back, and has not said its labels so far.
    desired.leave(&id);
    assert_eq!(desired.enter(&id, Some("p")).borrow().rules.len(), 0);
}

#[test]
fn a_worker_that_comes_late_or_again_has_the_rules_of_now_under_a_revision_of_their_own() {
    use telemetry_core::rules::{Rule, RuleAction};

    use crate::policy::RuleOrigin;
    let desired = desired();
    let set = |rules: &[&str]| {
        let rule = |id: &&str| Rule::new(*id, ["*"], RuleAction::Drop);
        RuleSet::default().with(RuleOrigin::Live, rules.iter().map(rule).collect())
    };
    let id = WorkerId::from("w");
    let first = desired.enter(&id, None).borrow().revision();
    desired.leave(&id);
    let (second, changed) = desired.set_rules(set(&["a"]), 0);
    assert!(changed.is_empty() && second > first);
    let watch = desired.enter(&id, None);
    assert_eq!(
        (watch.borrow().rules.len(), watch.borrow().revision()),
        (1, second)
    );
    // The same once more is nothing new to it.
    let (third, changed) = desired.set_rules(set(&["a"]), 0);
    assert!(changed.is_empty() && third > second);
    assert_eq!(watch.borrow().revision(), second);
    // It is further than we are: of somebody else.
    desired.overtaken(&id, third + 10);
    assert_eq!(watch.borrow().revision(), third + 11);
    desired.overtaken(&id, u64::MAX);
    assert_eq!(watch.borrow().revision(), third + 11, "no honest one");
}

#[test]
fn more_globs_than_a_worker_may_have_are_found_by_worker() {
    use telemetry_core::rules::{Rule, RuleAction};

    use crate::policy::RuleOrigin;
    let desired = desired();
    drop(desired.enter(&"a".into(), Some("p")));
    let rules = |pool: &str| {
        let of_pool = |n: usize| {
            let globs = (0..64).map(|glob| format!("r{n}.{glob}.*"));
            let mut rule = Rule::new(format!("r{n}"), globs, RuleAction::Drop);
            rule.target.pool = Some(pool.to_owned());
            rule
        };
        let rules = (0..17).map(of_pool).collect();
        RuleSet::default().with(RuleOrigin::Live, rules)
    };
    assert_eq!(desired.overfull(&rules("elsewhere")), None);
    let problem = desired.overfull(&rules("p")).expect("1,088 globs");
    assert!(
        problem.error.contains("\"a\" would have 1088 globs"),
        "{problem}"
    );
}
