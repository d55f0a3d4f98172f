//! Cross-crate stories, one file each.

mod rig;
mod stock_manager;
mod workspace;
