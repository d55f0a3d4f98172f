//! Harness of the cross-crate tests: peers, faults and ways to wait, so that a story is short.
//!
//! * Peers of ours: [`TestManager`] with a [`Witness`] to everything, and [`worker`], both
//!   real, and a [`Puppet`], which is a worker process.
//! * Peers that are not ours: [`StockWorker`] and [`StockManager`] behave as Snakepit's do;
//!   [`RawWorker`] sends any bytes at all.
//! * Faults: a [`Proxy`] is a cable that can be cut, a [`Turnstile`] holds a handler back, [`ScarceMemory`]
//!   runs out, a [`Seed`] makes chance repeatable.
//! * Truth: [`truth`] counts outside of our code, and compares.
//! * Waiting: [`within`], [`eventually`] and [`Witness`], all with a deadline, none with a sleep that
//!   a story would rely on.
//!
//! The stories themselves are in `tests/it`, one file each.
//!
//! # Floors
//!
//! From the ground up; a module uses only modules of floors below its own, which a test checks.
//!
//! 1. `patience`, `proxy`, `python`, `scarcity`, `seed`, `stock_worker`, `truth`
//! 2. `caller`, `raw_worker`, `stock_manager`, `witness`, `worker`
//! 3. `manager`
//! 4. `puppet`

mod caller;
mod manager;
mod patience;
mod proxy;
mod puppet;
mod python;
mod raw_worker;
mod scarcity;
mod seed;
mod stock_manager;
mod stock_worker;
pub mod truth;
mod witness;
mod worker;

/// The examples of the project's front page must compile.
#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
#[derive(Debug)]
pub struct FrontPage;

pub use caller::{Caller, answer, ask};
pub use manager::{Account, NODE, POOL, TestManager, WITNESS};
pub use patience::{Gate, PATIENCE, Turnstile, eventually, within};
pub use proxy::Proxy;
pub use puppet::{Puppet, Told, puppet_pool};
pub use python::{PYTHON, python, python_or_skip};
pub use raw_worker::{RawStream, RawWorker, event as raw_event};
pub use scarcity::ScarceMemory;
pub use seed::Seed;
pub use stock_manager::{End, STOCK_TIMEOUT, StockManager, StockStream, toggle};
pub use stock_worker::StockWorker;
pub use witness::Witness;
pub use worker::{Worker, WorkerBuilder, worker};
