//! Models of acknowledged delivery, small enough that every order of their steps can be tried.
//!
//! A worker keeps what it sent in a ring until it is acknowledged, and sends it again on the next stream.
//! What stands behind it differs, and so there are two models:
//!
//! * [`direct`]: managers with nothing durable behind them. What is dispatched is acknowledged.
//! * [`logged`]: managers that write to a durable log with a fence, and hold a lease. What the log
//!   confirmed is acknowledged.
//!
//! Both are searched in the same ways: every state ([`explore`]), long random walks through larger
//! ones ([`walk()`]), and the shortest way to something worth telling ([`stories`]). A [`Model`] says what may
//! happen next and what must be true always; the searches know nothing of telemetry.
//!
//! The models stand beside the code, not below it: nothing here is compiled into a worker or a manager.
//! What keeps the two together are the stories in `stories.txt`, which tests of the code follow by hand.
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `events`, `model`, `seat`
//! 2. `search`, `walk`, `worker`
//! 3. `direct`, `logged`, `story`
//! 4. `stories`

pub mod direct;
mod events;
pub mod logged;
mod model;
mod search;
mod seat;
pub mod stories;
mod story;
mod walk;
mod worker;

pub use events::Events;
pub use model::{Fault, Model, Moves};
pub use search::{Broken, Explored, Verdict, explore};
pub use seat::{Pair, Seat};
pub use story::{Chapter, IsIt, Story, tell};
pub use walk::{Walked, walk};
pub use worker::{Full, Limits, Worker};
