//! Cross-crate stories, one file each.

mod control;
mod fleet;
mod handlers;
mod nothing_vanishes;
mod rig;
mod rubbish;
mod stock_manager;
mod stock_worker;
mod workspace;
