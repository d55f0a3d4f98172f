//! Long walks by chance through models that are too large to be searched whole.
//!
//! Each goes on until all is quiet, and every law is checked at every step. Chance has a seed: the same
//! walks every time.

use crate::model::{Fault, Model, Moves};

/// No walk of a sound model is near as long.
const LONGEST: usize = 20_000;

/// What the walks saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Walked {
    /// Steps of all walks.
    pub steps: u64,
    /// Steps of the longest.
    pub longest: usize,
}

/// Takes as many walks; `end` is shown the state in which each ended.
///
/// # Errors
///
/// The law that one broke, with its steps, or that it could not go on or did not end.
pub fn walk<M: Model>(
    model: &M,
    walks: u32,
    seed: u64,
    mut end: impl FnMut(&M::State),
) -> Result<Walked, (Vec<M::Step>, Fault)> {
    let mut chance = Chance(seed.max(1));
    let mut walked = Walked::default();
    let mut moves: Moves<M> = Vec::new();
    for _ in 0..walks {
        let mut state = model.start();
        let mut steps = Vec::new();
        while !model.is_quiet(&state) {
            moves.clear();
            model.moves(&state, &mut moves);
            if moves.is_empty() || steps.len() == LONGEST {
                return Err((steps, Fault("a walk does not come to its end")));
            }
            let (step, result) = moves.swap_remove(chance.below(moves.len()));
            steps.push(step);
            state = match result.and_then(|state| model.laws(&state).map(|()| state)) {
                Ok(state) => state,
                Err(fault) => return Err((steps, fault)),
            };
        }
        walked.steps += u64::try_from(steps.len()).unwrap_or(u64::MAX);
        walked.longest = walked.longest.max(steps.len());
        end(&state);
    }
    Ok(walked)
}

/// Marsaglia's xorshift with 64 bits; never 0.
struct Chance(u64);

impl Chance {
    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper half is the better one.
        usize::try_from(self.0 >> 32).unwrap_or_default() % bound
    }
}
