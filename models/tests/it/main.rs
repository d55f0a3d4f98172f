//! What the models say: that the design holds in every order, and that each planted mistake is found.
//!
//! The numbers of states are those of today's models. Another number is no error in itself, but somebody
//! has to want it.

mod direct;
mod logged;
mod mistakes;
mod stories;
mod walks;
mod wishes;

/// More states than any model here has.
const MOST: usize = 6_000_000;
