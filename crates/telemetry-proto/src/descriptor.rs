//! What the wire is called, and its description in protobuf's own terms.
//!
//! Constants only; a test holds them against the description.

/// The service every worker serves, with its package.
pub const SERVICE_NAME: &str = "snakepit.bridge.BridgeService";

/// HTTP/2 `:path` of the telemetry stream.
pub const STREAM_TELEMETRY_PATH: &str = "/snakepit.bridge.BridgeService/StreamTelemetry";

/// HTTP/2 `:path` of the connection test.
pub const PING_PATH: &str = "/snakepit.bridge.BridgeService/Ping";

/// HTTP/2 `:path` of the sign of life.
pub const HEARTBEAT_PATH: &str = "/snakepit.bridge.BridgeService/Heartbeat";

/// The compiled proto file: an encoded `google.protobuf.FileDescriptorSet` that includes its
/// imports and leaves out comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptor.bin");
