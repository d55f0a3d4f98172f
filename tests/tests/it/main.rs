//! Cross-crate stories, one file each.

mod control;
mod coverage;
mod desired;
mod end_to_end;
mod exact_values;
mod exposition;
mod fleet;
mod floors;
mod handlers;
mod handover;
mod late_hello;
mod nothing_vanishes;
mod pool;
mod rig;
mod rubbish;
mod stock_manager;
mod stock_worker;
mod survival;
mod torn_streams;
mod workspace;
