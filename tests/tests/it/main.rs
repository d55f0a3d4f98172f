//! Cross-crate stories, one file each.
