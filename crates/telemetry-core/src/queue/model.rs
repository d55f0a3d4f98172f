//! The queue in the model checker: `cargo xtask loom`.
