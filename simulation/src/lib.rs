//! The real code of both roles in one thread and in virtual time, in a world that a seed makes.
//!
//! Workers and managers are those of production from HTTP/2 upwards: the words of introduction, dialling in and
//! out, sessions, pump, pipeline, dispatch and accounts. Below them are connections in memory, which arrive late,
//! stand still or are cut after any byte; beside them are processes that die at any step. What they say of events
//! is compared with what really happened, which is counted outside of them.
//!
//! A seed always tells the same story. Chance, clocks and the process's number are taken from the seed in place of
//! the system (`system`), and each seed runs in a process of its own. What runs on threads of its own is left
//! out: the poller and the sockets of a worker, queued handlers, the look at `/proc`, inotify; so is the mode in which
//! an emit waits until it is written.
//!
//! Most workers that dial in hand their memory over. A process that is killed runs no step any more; what its
//! manager reads of that memory has to account for every event whose emit returned. Of those whose memory nobody
//! has it has to be said that not all is known.
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `chance`, `memory`, `search`
//! 2. `plan`, `system`
//! 3. `trace`, `truth`
//! 4. `network`
//! 5. `seat`
//! 6. `laws`, `worker`
//! 7. `world`
//! 8. `judge`
//! 9. `life`

#![cfg(feature = "world")]

mod chance;
mod judge;
mod laws;
mod life;
mod memory;
mod network;
mod plan;
mod search;
mod seat;
mod system;
mod trace;
mod truth;
mod worker;
mod world;

pub use life::{Outcome, run};
pub use plan::Plan;
pub use search::{Came, Runner, Try};
pub use system::begin;
pub use trace::Trace;
