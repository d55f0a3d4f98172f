//! The backends that can be asked for by name: those of `TELEMETRY_BACKEND`.
//!
//! A table of words. Which of them are made, and of what, is for `sink` to know.

/// One backend by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Telemetry is off.
    None,
    /// The queue, whose events a manager is connected to for.
    Connect,
    /// The queue, served to a manager that connects.
    Server,
    /// Lines on stderr.
    Stderr,
    /// A list, for tests.
    Memory,
    /// A servicer of the program's own gRPC server.
    Grpc,
    /// The SDK of OpenTelemetry.
    Otel,
    /// Datagrams of StatsD.
    Statsd,
}

/// What may stand in the list, for people.
pub(crate) const CHOICES: &str = "none, connect, server, stderr, memory, grpc, otel, statsd, or a comma \
     list of them with no more than one of connect and server";

/// Every kind with its name.
const NAMES: [(&str, Kind); 8] = [
    ("none", Kind::None),
    ("connect", Kind::Connect),
    ("server", Kind::Server),
    ("stderr", Kind::Stderr),
    ("memory", Kind::Memory),
    ("grpc", Kind::Grpc),
    ("otel", Kind::Otel),
    ("statsd", Kind::Statsd),
];

impl Kind {
    /// Its name in `TELEMETRY_BACKEND`.
    pub(crate) fn name(self) -> &'static str {
        NAMES
            .iter()
            .find_map(|(name, kind)| (*kind == self).then_some(*name))
            .unwrap_or_default()
    }

    /// The class of `telemetry_py.backends` that it is an instance of; `None` for the queue and for none.
    pub(crate) fn class(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Connect | Self::Server => None,
            Self::Stderr => Some("StderrBackend"),
            Self::Memory => Some("MemoryBackend"),
            Self::Grpc => Some("GrpcBackend"),
            Self::Otel => Some("OtelBackend"),
            Self::Statsd => Some("StatsdBackend"),
        }
    }
}

/// Where events go: one backend or several, each named once. Never empty; `none` stands alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kinds(Vec<Kind>);

impl Kinds {
    /// Just one.
    pub(crate) fn of(kind: Kind) -> Self {
        Self(vec![kind])
    }

    /// A comma list. `None` for a word that is no name, and for both ways of one queue.
    pub(crate) fn parse(list: &str) -> Option<Self> {
        let mut kinds = Vec::new();
        for word in list.split(',') {
            let (_, kind) = NAMES.iter().find(|(name, _)| *name == word.trim())?;
            if !kinds.contains(kind) {
                kinds.push(*kind);
            }
        }
        if kinds.len() > 1 {
            kinds.retain(|kind| *kind != Kind::None);
        }
        let kinds = Self(kinds);
        (!kinds.has(Kind::Connect) || !kinds.has(Kind::Server)).then_some(kinds)
    }

    /// Whether it is among them.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.0.contains(&kind)
    }

    /// Whether telemetry is off.
    pub(crate) fn is_none(&self) -> bool {
        self.has(Kind::None)
    }

    /// Whether the queue is one of them.
    pub(crate) fn has_queue(&self) -> bool {
        self.has(Kind::Connect) || self.has(Kind::Server)
    }

    /// Those that are objects of Python.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Kind> + '_ {
        self.0.iter().copied().filter(|kind| kind.class().is_some())
    }

    /// Their names as a list.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|kind| kind.name()).collect();
        names.join(",")
    }
}
