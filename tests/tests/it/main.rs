//! Cross-crate stories, one file each.

mod rig;
mod workspace;
