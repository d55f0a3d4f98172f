//! What the table of names promises to threads that use it at once.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::control::PolicySpec;
use crate::region::{Layout, Region};

fn table_of(max: usize, policy: Policy) -> CallsiteTable {
    let region = Region::heap(Layout::new(0, max));
    CallsiteTable::in_parts(max, policy, region.sites, region.names)
}

fn put(table: &CallsiteTable, policy: Policy) {
    let (limiters, waiting) = Default::default();
    table.set_policy(policy, false, &limiters, &waiting);
}

fn denying(pattern: &str) -> Policy {
    let deny = vec![pattern.to_owned()];
    Policy::compile(&PolicySpec {
        deny,
        ..PolicySpec::default()
    })
    .unwrap()
}

#[test]
fn names_that_arrive_while_the_policy_changes_are_kept_and_obey_it() {
    let table = table_of(8_192, Policy::default());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                put(&table, denying("a.*"));
                put(&table, denying("b.*"));
            }
        });
        let resolvers: Vec<_> = ["a", "b"]
            .into_iter()
            .map(|prefix| {
                let table = &table;
                scope.spawn(move || {
                    for n in 0..2_000 {
                        let site = table.resolve(&format!("{prefix}.n{n}")).unwrap();
                        assert!(site.kept, "{n}");
                    }
                })
            })
            .collect();
        let failed = resolvers.into_iter().any(|thread| thread.join().is_err());
        done.store(true, Ordering::Release);
        assert!(!failed);
    });
    let policy = table.policy();
    assert_eq!(table.sites().count(), 4_000);
    for site in table.sites() {
        let expected = policy.threshold(site.name.as_str());
        assert_eq!(table.threshold(site), expected, "{:?}", site.name);
    }
}

#[test]
fn threads_that_race_for_the_same_names_share_their_sites() {
    let table = table_of(1_000, Policy::default());
    let resolve_all = || {
        (0..1_500)
            .map(|n| table.resolve(&format!("n{n}")).unwrap())
            .filter(|site| site.kept)
            .count()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(resolve_all)).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(resolve_all(), 1_000);
    assert_eq!(table.len.load(Ordering::Relaxed), 1_000);
    let names: std::collections::HashSet<_> = table.sites().map(|site| &site.name).collect();
    assert_eq!(names.len(), 1_000);
}

#[test]
fn a_table_without_room_still_finds_callsites() {
    let table = table_of(0, denying("a"));
    let site = table.resolve("a").unwrap();
    assert!(!site.kept);
    assert_eq!(table.threshold(&site), Threshold::FILTERED);
    assert_eq!(table_of(usize::MAX, Policy::default()).max, MAX_CALLSITES);
}

#[test]
fn names_are_found_beside_their_counts_unless_they_are_very_long() {
    let region = Region::heap(Layout::new(0, 4));
    let (sites, names) = (region.sites, region.names);
    let table = CallsiteTable::in_parts(4, Policy::default(), sites, names);
    let long = ["x".repeat(60), "y".repeat(60)].join(".");
    for name in ["a.b", &long, "c", &"z".repeat(64), "beyond"] {
        let site = table.resolve(name).unwrap();
        table.count(site.tag(), Ended::Dropped);
    }
    let read = |words: &[AtomicU64]| -> Vec<u64> {
        words.iter().map(|it| it.load(Ordering::Relaxed)).collect()
    };
    let (counts, names) = table.counts.read_all(read);
    let found = names_in(&counts, &names, |tag| u64::from(tag == 2) * 5);
    let found: Vec<_> = found.into_iter().map(|it| (it.name, it.emitted)).collect();
    let expected = [
        ("a.b".to_owned(), 1),
        ("c".to_owned(), 6),
        ("z".repeat(64), 1),
    ];
    assert_eq!(found, expected);
    assert_eq!(table.totals(), [0, 0, 5]);
    assert_eq!(totals_of(counts.into_iter()), [0, 0, 5]);
}
