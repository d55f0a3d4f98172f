//! Cross-crate stories, one file each.

mod control;
mod desired;
mod end_to_end;
mod fleet;
mod handlers;
mod nothing_vanishes;
mod pool;
mod rig;
mod rubbish;
mod stock_manager;
mod stock_worker;
mod workspace;
