//! The manager as a process: its log, its signals, its descriptors, who may ask it, and being process 1.

#[path = "process/descriptors.rs"]
mod descriptors;
#[path = "process/first.rs"]
mod first;
#[path = "process/kept.rs"]
mod kept;
#[path = "process/log.rs"]
mod log;
#[path = "process/rig.rs"]
mod rig;
#[path = "process/signals.rs"]
mod signals;
#[path = "process/squatter.rs"]
mod squatter;
#[path = "process/strangers.rs"]
mod strangers;
#[path = "process/tls.rs"]
mod tls;
