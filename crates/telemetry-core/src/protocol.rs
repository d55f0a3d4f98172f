//! What both roles must agree on besides the messages: revision, abilities, the line of stderr.
//!
//! Plain constants. A number or word here is part of the wire and never changes its meaning.

/// Revision of the extensions of the wire that this version speaks.
///
/// 2 added [`POSITION`](capability::POSITION), [`DRAIN`](capability::DRAIN) and the reasons above 13.
pub const PROTOCOL_REVISION: u32 = 2;

/// The last revision whose managers refuse a whole report for one reason that they do not know.
pub const REVISION_WITH_CLOSED_REASONS: u32 = 1;

/// Request header in which a manager says which revision its hello will have, so that the worker
/// waits for that hello before it sends the first event.
pub const REVISION_HEADER: &str = "telemetry-protocol-revision";

/// What a line of stderr that carries an event begins with.
pub const LINE_PREFIX: &str = "TELEMETRY:";

/// Longest path of a unix socket, in bytes: what `sockaddr_un` holds without its final zero.
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Permission bits of a directory with which somebody else could put a socket of theirs into it.
pub const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Words with which a worker says in its hello what it can do beyond a stock one.
pub mod capability {
    /// It takes a whole policy.
    pub const POLICY: &str = "policy";
    /// Its events carry their sequence.
    pub const SEQUENCE: &str = "sequence";
    /// Its events carry the rate they were kept with.
    pub const SAMPLING_RATE: &str = "sampling_rate";
    /// It sends its ledger.
    pub const REPORT: &str = "report";
    /// It ends the stream in order when the manager ends its side.
    pub const GOODBYE: &str = "goodbye";
    /// Its reports say what was sent on the stream before them.
    pub const POSITION: &str = "position";
    /// It can be told that its process is about to be ended.
    pub const DRAIN: &str = "drain";

    /// Its events carry the identity of the span that they belong to.
    pub const SPANS: &str = "spans";

    /// It can be told of names that its manager does not take.
    pub const REJECTED: &str = "rejected";

    /// It takes rules.
    pub const RULES: &str = "rules";

    /// It keeps what it sent until that is acknowledged, and sends it again on the next stream.
    pub const ACK: &str = "ack";

    /// The memory that holds its events and counters can be read by its manager, also after its death: the
    /// descriptor came with the introduction. Only said where that is so.
    pub const REGION: &str = "region";

    /// All that this version can do everywhere.
    pub const ALL: [&str; 11] = [
        POLICY,
        SEQUENCE,
        SAMPLING_RATE,
        REPORT,
        GOODBYE,
        POSITION,
        DRAIN,
        REJECTED,
        SPANS,
        ACK,
        RULES,
    ];
}
