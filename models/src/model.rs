//! What a model is: states, the steps between them, what must hold, and when all is done.

use std::fmt::{Debug, Display};
use std::hash::Hash;

/// A law that was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault(pub &'static str);

impl Fault {
    /// An error with this text, unless `is_kept`.
    ///
    /// # Errors
    ///
    /// The law `text`, if it is not kept.
    pub fn unless(is_kept: bool, text: &'static str) -> Result<(), Self> {
        if is_kept { Ok(()) } else { Err(Self(text)) }
    }
}

/// What may happen next: each step with where it leads, or the law that it breaks.
pub type Moves<M> = Vec<(<M as Model>::Step, Result<<M as Model>::State, Fault>)>;

/// A protocol and its faults, as a machine that takes one step at a time.
pub trait Model {
    /// All there is to know at one moment.
    type State: Clone + Eq + Hash + Debug;
    /// What happens between two moments.
    type Step: Copy + PartialEq + Debug + Display;

    /// Where it begins.
    fn start(&self) -> Self::State;

    /// Adds every step that is possible now.
    fn moves(&self, state: &Self::State, moves: &mut Moves<Self>)
    where
        Self: Sized;

    /// What must be true in every state.
    ///
    /// # Errors
    ///
    /// The first law that is broken.
    fn laws(&self, state: &Self::State) -> Result<(), Fault>;

    /// Whether everything arrived where it should. From each state such a one must be within reach.
    fn is_quiet(&self, state: &Self::State) -> bool;

    /// What is worth knowing of a state, in one line.
    fn summary(&self, state: &Self::State) -> String;

    /// One of the states that differ in names only, the same for all of them.
    fn canonical(&self, state: Self::State) -> Self::State {
        state
    }
}
