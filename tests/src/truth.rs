//! The truth outside our code, and what it is compared with.
//!
//! * [`Pages`]: each worker process keeps the number of its emits in a file of its own, which
//!   outlives it however it ends. [`Arrivals`]: a handler that remembers every event by the process
//!   and number it carries. Neither takes a word from our ledgers.
//! * [`Incarnation`] and [`Sums`]: what a manager says, read in `account.rs` and nowhere else.
//! * [`judge`] compares the two for one process, [`Laws`] what a manager says with what it said
//!   before.
//! * Programs: [`Loose`] workers, in Rust or plain Python, that obey orders; a manager as a process
//!   of its own, [`Remote`], that answers on a socket; a [`Story`] with a manager in the test.
//!
//! An event that was emitted carries `truth`, the process, in its metadata and its number, from 1,
//! as `bytes`.

mod account;
mod arrivals;
mod judge;
mod laws;
mod pages;
mod program;
mod remote;
mod role;
mod story;
mod worker;

pub use account::{Book, Incarnation, Sums, by_incarnation, by_process, incarnations, pools};
pub use arrivals::{Arrivals, Seen};
pub use judge::{Finding, Verdict, judge};
pub use laws::Laws;
pub use pages::{Counted, Page, Pages};
pub use program::{Kind, Loose, Program, gone, is_gone, order, order_only, process_state, signal};
pub use remote::{Line, Remote};
pub use role::{Answer, Order, PoolRole, PoolWorker, Role, StreamOf, serve_role};
pub use story::{Expected, Story};
pub use worker::run_worker;

/// The key of the metadata in which an event carries the process that emitted it.
pub const TAG: &str = "truth";
/// The name of all events of truthful workers, on the wire.
pub const EVENT: &str = "tool.result_size";
