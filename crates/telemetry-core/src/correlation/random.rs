//! The small random generator behind ids, one per thread.
//!
//! Ids need to be unique, not secret: the operating system seeds, and a fast generator goes on.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Grows with every [`reseed`]; a thread whose generator is of an older generation seeds it anew.
static GENERATION: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static GENERATOR: Cell<Generator> = const { Cell::new(Generator { state: [0; 4], generation: 0 }) };
}

/// The generator xoshiro256++ of Blackman and Vigna (public domain). Its 256 bits of state keep
/// the sequences of many threads and processes apart, which a 64-bit state would not.
#[derive(Clone, Copy)]
struct Generator {
    /// Never all zero once seeded.
    state: [u64; 4],
    /// The generation it was seeded in; 0 is unseeded.
    generation: u64,
}

/// 64 random bits from this thread's generator, which is seeded by the operating system at its
/// first use. Fast, not fit for secrets.
#[must_use]
pub fn random_u64() -> u64 {
    GENERATOR.with(|cell| {
        let mut generator = cell.get();
        let generation = seed_generation();
        if generator.generation != generation {
            generator = Generator {
                state: fresh_seed(),
                generation,
            };
        }
        let random = generator.next();
        cell.set(generator);
        random
    })
}

/// Makes every thread seed its generator anew before its next use.
///
/// To be called in the child after a fork, which would otherwise repeat the ids of its parent. It
/// only bumps an atomic counter, so a fork handler may call it.
pub fn reseed() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Another number after each [`reseed`]: what a thread keeps of a process that was forked is old then.
#[must_use]
#[inline]
pub fn seed_generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

impl Generator {
    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }
}

fn fresh_seed() -> [u64; 4] {
    let mut bytes = [0; 32];
    let mut seed = [0; 4];
    if getrandom::fill(&mut bytes).is_ok() {
        for (word, chunk) in seed.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = chunk
                .iter()
                .fold(0, |word, &byte| word << 8 | u64::from(byte));
        }
    }
    if seed == [0; 4] {
        seed_without_system()
    } else {
        seed
    }
}

/// A system without randomness must not take its user's program down. What differs between
/// processes, threads and moments makes the ids unique then.
fn seed_without_system() -> [u64; 4] {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let mut hasher = DefaultHasher::new();
    std::process::id().hash(&mut hasher);
    std::thread::current().id().hash(&mut hasher);
    std::time::SystemTime::now().hash(&mut hasher);
    std::time::Instant::now().hash(&mut hasher);
    std::array::from_fn(|index| {
        index.hash(&mut hasher);
        hasher.finish() | 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_is_xoshiro256_plus_plus() {
        // First outputs of the authors' reference code for the state 1, 2, 3, 4.
        let mut generator = Generator {
            state: [1, 2, 3, 4],
            generation: 0,
        };
        let outputs: [u64; 4] = std::array::from_fn(|_| generator.next());
        assert_eq!(
            outputs,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386
            ]
        );
    }

    #[test]
    fn reseed_starts_another_sequence() {
        let same = Generator {
            state: [1, 2, 3, 4],
            generation: seed_generation(),
        };
        GENERATOR.with(|cell| cell.set(same));
        reseed();
        assert_ne!(random_u64(), 41_943_041);
    }

    #[test]
    fn threads_do_not_share_a_sequence() {
        let draw = || std::array::from_fn::<u64, 8, _>(|_| random_u64());
        let other = std::thread::spawn(draw).join().unwrap();
        assert_ne!(draw(), other);
    }

    #[test]
    fn seeds_without_the_system_differ() {
        let mut seed = Generator {
            state: seed_without_system(),
            generation: 0,
        };
        let mut other = std::thread::spawn(|| Generator {
            state: seed_without_system(),
            generation: 0,
        })
        .join()
        .unwrap();
        assert_ne!(seed.next(), other.next());
    }
}
