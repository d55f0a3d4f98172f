//! Cross-crate stories, one file each.

mod workspace;
