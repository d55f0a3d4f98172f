//! Every state that can be reached, nearest first, with the way to it.
//!
//! A broken law therefore comes with the shortest way to it. It knows models as [`Model`] only.

mod liveness;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use crate::model::{Fault, Model, Moves};
use liveness::Edges;

/// What a search found.
#[derive(Debug)]
pub enum Verdict<M: Model> {
    /// Every state keeps the laws, and from each a quiet one can be reached.
    Holds(Explored),
    /// A law is broken.
    Broken(Broken<M>),
    /// Nothing was found in as many states as were allowed.
    Unfinished(Explored),
}

/// How much was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Steps to the farthest.
    pub depth: usize,
    /// Quiet states among them.
    pub quiet: usize,
}

/// The shortest way to a broken law.
#[derive(Debug)]
pub struct Broken<M: Model> {
    /// From the start.
    pub steps: Vec<M::Step>,
    /// What is broken by the last of them.
    pub fault: Fault,
}

impl<M: Model> fmt::Display for Broken<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} steps:", self.fault.0, self.steps.len())?;
        for step in &self.steps {
            write!(f, "\n  {step}")?;
        }
        Ok(())
    }
}

impl<M: Model> Verdict<M> {
    /// What was seen of a model that holds.
    ///
    /// # Panics
    ///
    /// With the way to what is broken, if it does not hold or could not be searched whole.
    #[must_use]
    pub fn holds(self) -> Explored {
        match self {
            Self::Holds(explored) => explored,
            Self::Broken(broken) => panic!("{broken}"),
            Self::Unfinished(explored) => panic!("not searched to the end: {explored:?}"),
        }
    }

    /// The shortest way to a mistake.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn broken(self) -> Broken<M> {
        match self {
            Self::Broken(broken) => broken,
            Self::Holds(explored) | Self::Unfinished(explored) => {
                panic!("nothing is broken: {explored:?}")
            }
        }
    }
}

/// How a state was reached first: from which, by which step.
struct Reached<S> {
    from: usize,
    by: Option<S>,
}

/// Tries every order of steps, up to `most` different states.
#[must_use]
pub fn explore<M: Model>(model: &M, most: usize) -> Verdict<M> {
    let mut known: HashMap<M::State, usize> = HashMap::new();
    let mut reached = vec![Reached { from: 0, by: None }];
    let mut edges = Edges::default();
    let mut quiet = Vec::new();
    let mut explored = Explored::default();
    let start = model.canonical(model.start());
    known.insert(start.clone(), 0);
    let mut frontier = vec![(start, 0)];
    let mut moves: Moves<M> = Vec::new();
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for (state, id) in frontier {
            if model.is_quiet(&state) {
                quiet.push(id);
            }
            model.moves(&state, &mut moves);
            for (step, result) in moves.drain(..) {
                let result = result.map(|state| model.canonical(state));
                let result = result.and_then(|state| model.laws(&state).map(|()| state));
                let state = match result {
                    Ok(state) => state,
                    Err(fault) => {
                        let steps = way::<M>(&reached, id, Some(step));
                        return Verdict::Broken(Broken { steps, fault });
                    }
                };
                let new = reached.len();
                let to = match known.entry(state) {
                    Entry::Occupied(entry) => *entry.get(),
                    Entry::Vacant(entry) => {
                        next.push((entry.key().clone(), new));
                        entry.insert(new);
                        reached.push(Reached {
                            from: id,
                            by: Some(step),
                        });
                        new
                    }
                };
                edges.add(id, to);
            }
        }
        explored.depth += usize::from(!next.is_empty());
        explored.states = reached.len();
        explored.quiet = quiet.len();
        if reached.len() > most {
            return Verdict::Unfinished(explored);
        }
        frontier = next;
    }
    match edges.first_without_way_to(&quiet, reached.len()) {
        None => Verdict::Holds(explored),
        Some(stuck) => Verdict::Broken(Broken {
            steps: way::<M>(&reached, stuck, None),
            fault: Fault("no quiet state can be reached from here"),
        }),
    }
}

/// The steps to the state `id`, and one more.
fn way<M: Model>(reached: &[Reached<M::Step>], id: usize, last: Option<M::Step>) -> Vec<M::Step> {
    let mut steps: Vec<M::Step> = last.into_iter().collect();
    let mut at = &reached[id];
    while let Some(step) = at.by {
        steps.push(step);
        at = &reached[at.from];
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests;
