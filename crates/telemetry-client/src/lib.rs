//! The worker role: emit events and serve them to a manager over one gRPC stream.

pub mod serve;
