//! Regions of which some words were overwritten with anything.

use std::collections::HashSet;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::*;

/// Valid regions that are damaged, and how often each is in the run that everybody makes.
const REGIONS: usize = 100;
const EACH: usize = 200;

/// A region as it was left, and the bytes of every record that was ever let in.
struct Original {
    image: Vec<u64>,
    layout: Layout,
    pushed: HashSet<Vec<u8>>,
}

/// Regions of up to 4 KiB in all states, the same in each run.
fn originals() -> Vec<Original> {
    let mut runner = TestRunner::deterministic();
    let mut original = || {
        let tree = killed::workers().new_tree(&mut runner).expect("a value");
        let (first, last, events, words) = tree.current();
        let worker = Worker::new(events, words);
        for step in first.iter().chain(&last) {
            worker.step(step);
        }
        let image = worker.image();
        assert!(size_of_val(&image[..]) <= 4_096);
        let log = worker.log.take();
        Original {
            image,
            layout: worker.layout,
            pushed: log.into_iter().map(|(bytes, _)| bytes).collect(),
        }
    };
    (0..REGIONS).map(|_| original()).collect()
}

/// Random numbers that need no seed from outside.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // The step of Weyl and the mixer of splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("it is below")
    }
}

/// Overwrites up to four words, and says which.
fn mutate(words: &mut [u64], layout: Layout, random: &mut Random) -> Vec<usize> {
    let ring = layout.ring();
    // Where records are.
    let mut live: Vec<usize> = ring.clone().filter(|at| words[*at] != 0).collect();
    if live.is_empty() {
        live.extend(ring);
    }
    // Most keep what says what they are.
    let first = if random.below(20) == 0 { 0 } else { 8 };
    let times = 1 + random.below(4);
    let mutate_one = |_| {
        let at = match random.below(8) {
            0 => first + random.below(words.len() - first),
            1 => first + random.below(56),
            _ => live[random.below(live.len())],
        };
        let other = words[random.below(words.len())];
        let word = &mut words[at];
        *word = match random.below(8) {
            0..3 => *word ^ 1 << random.below(64),
            3 => random.next(),
            4 => 0,
            5 => other,
            6 => word.wrapping_add(random.next() % 16).wrapping_sub(8),
            _ => *word & !(0xff << (8 * random.below(8))) | random.next() & 0xff,
        };
        at
    };
    (0..times).map(mutate_one).collect()
}

/// Makes sure that nothing was made up: each record that is given out was let in, or its own words were
/// touched. Says whether damage was seen; none if nothing was recovered.
fn check(original: &Original, found: &[u64], touched: &[usize]) -> Option<bool> {
    let recovered = recover_words(found).ok()?;
    let ring = original.layout.ring();
    let ends = Ends::find(found, ring.len()).expect("it was recovered");
    let start = ends.places(ring.len())[0].start;
    for record in recovered.remains.records() {
        let words = 1 + record.bytes.len().div_ceil(size_of::<u64>());
        let is_own = |at: &usize| {
            let behind = at
                .wrapping_sub(ring.start)
                .wrapping_sub(start + record.at());
            ring.contains(at) && behind % ring.len() < words
        };
        assert!(
            original.pushed.contains(record.bytes) || touched.iter().any(is_own),
            "{record:?} was made up after {touched:?} were touched"
        );
    }
    Some(recovered.is_damaged)
}

fn damage(each: usize) {
    let mut random = Random(7);
    let (mut recovered, mut damaged, mut kept_magic) = (0, 0, 0);
    let originals = originals();
    for original in &originals {
        for _ in 0..each {
            let mut found = original.image.clone();
            let touched = mutate(&mut found, original.layout, &mut random);
            kept_magic += usize::from(found[0] == original.image[0]);
            let seen = check(original, &found, &touched);
            recovered += usize::from(seen.is_some());
            damaged += usize::from(seen == Some(true));
        }
    }
    let all = originals.len() * each;
    assert!(kept_magic * 10 >= all * 9);
    assert!(
        recovered * 2 >= all && damaged * 10 >= all,
        "{recovered} and {damaged} of {all}"
    );
}

#[test]
fn damaged_regions_make_nothing_up_and_never_panic() {
    damage(EACH);
}

#[test]
#[ignore = "takes half a minute: a million damaged regions"]
fn a_million_damaged_regions_make_nothing_up_and_never_panic() {
    damage(1_000_000 / REGIONS);
}
