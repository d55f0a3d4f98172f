//! The one place that includes generated code.
//!
//! `generated/` is written by `cargo xtask gen-proto` and never edited. `include!` keeps it out of
//! rustfmt's way; what is public is listed in the crate root.

include!("generated/snakepit.bridge.rs");
