//! Laws that hold whenever somebody looks: totals say no less than their parts, and never fall.

use std::collections::BTreeMap;

use super::account::Sums;

/// What one manager said so far.
#[derive(Debug, Default)]
pub struct Laws {
    last: BTreeMap<Option<String>, Sums>,
    looks: u64,
    broken: u64,
    /// By law and pool: how often, and the words of the last time.
    told: BTreeMap<String, (u64, String)>,
}

impl Laws {
    /// Looks at what a manager says. `truth` is the most that can have been emitted, read after it.
    pub fn look(&mut self, pools: &[Sums], truth: u64) {
        self.looks += 1;
        let emitted: u64 = pools.iter().map(|pool| pool.emitted).sum();
        if emitted > truth {
            let words = format!("emitted {emitted}, truth at most {truth}");
            self.breaks("total of all pools", words);
        }
        for pool in pools {
            let name = pool.pool_name.as_deref().unwrap_or("-");
            let parts = pool.received + pool.dropped;
            if pool.emitted < parts {
                let words = format!(
                    "emitted {} < received {} + dropped {}",
                    pool.emitted, pool.received, pool.dropped
                );
                self.breaks(&format!("{name}: a sum above its parts"), words);
            }
            let before = self.last.insert(pool.pool_name.clone(), pool.clone());
            let before = before.unwrap_or_default();
            for (what, then, now) in [
                ("emitted", before.emitted, pool.emitted),
                ("received", before.received, pool.received),
                ("dropped", before.dropped, pool.dropped),
                ("gaps", before.gaps, pool.gaps),
                ("lost_at_crash", before.lost_at_crash, pool.lost_at_crash),
            ] {
                if now < then {
                    let words = format!("{what} fell from {then} to {now}");
                    self.breaks(&format!("{name}: no total of {what} falls"), words);
                }
            }
        }
    }

    /// The manager's process ended; what its successor says begins anew.
    pub fn begin_anew(&mut self) {
        self.last.clear();
    }

    /// How often somebody looked.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// How often a law was broken.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// Each broken law in words: how often, and how the last time.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let told = self.told.iter();
        told.map(|(law, (times, last))| format!("{law}: {times} times, at last {last}"))
            .collect()
    }

    /// Notes something that must not be.
    pub fn breaks(&mut self, law: &str, words: String) {
        self.broken += 1;
        let told = self.told.entry(law.to_owned()).or_default();
        told.0 += 1;
        told.1 = words;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_that_falls_says_too_little_or_too_much_is_found() {
        let mut laws = Laws::default();
        let mut sums = Sums {
            emitted: 10,
            received: 8,
            dropped: 2,
            ..Sums::default()
        };
        laws.look(&[sums.clone()], 10);
        assert_eq!(laws.told(), Vec::<String>::new());
        sums.received = 9;
        laws.look(&[sums.clone()], 9);
        sums.received = 7;
        laws.look(&[sums], 10);
        assert_eq!(
            laws.told(),
            [
                "-: a sum above its parts: 1 times, at last emitted 10 < received 9 + dropped 2",
                "-: no total of received falls: 1 times, at last received fell from 9 to 7",
                "total of all pools: 1 times, at last emitted 10, truth at most 9",
            ]
        );
    }
}
