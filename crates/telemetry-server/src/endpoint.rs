//! Where a worker listens, in the words of this role.

pub use telemetry_core::{Address as Endpoint, AddressError as EndpointError};
