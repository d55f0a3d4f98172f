//! The list of faults. Each has to happen, or the run fails and names it.

use std::fmt;

/// Something that is done to the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The pool replaces a worker.
    Recycle,
    /// Somebody else sends SIGTERM to a plain Python worker.
    Terminate,
    /// `os._exit` right after a burst of 20,000.
    ExitAfterBurst,
    /// `kill -9` in steady flow.
    KillSteady,
    /// `kill -9` in the middle of a burst.
    KillInBurst,
    /// The manager stands still and a worker is killed meanwhile.
    KillWhileStopped,
    /// The manager is killed and its successor adopts the pool.
    Adopt,
    /// A stream is cut.
    Cut,
    /// Another manager takes a stream and gives it back.
    Steal,
    /// A worker is unregistered and registered again.
    Reregister,
    /// A worker is registered in another pool.
    ChangePool,
    /// A worker forks; the child is a worker of its own and ends.
    Fork,
    /// A worker closes descriptors that are not its own.
    CloseRange,
    /// The manager is killed and started again.
    KillManager,
    /// The manager ends in order and is started again.
    RestartManager,
    /// A worker that dialled in is killed and started again under its id.
    KillDialled,
    /// `os._exit` of one that dialled in, right after a burst.
    ExitDialled,
    /// A script that ends right after its last event.
    Script,
    /// The child of one that dialled in dials in by itself.
    ForkDialled,
    /// The manager that workers dial in to is killed and started again.
    KillDialledManager,
    /// It ends in order and is started again.
    RestartDialledManager,
}

/// Faults of the manager with a pool of its own.
pub(crate) const OF_POOL: &[Fault] = &[
    Fault::Recycle,
    Fault::Terminate,
    Fault::ExitAfterBurst,
    Fault::KillSteady,
    Fault::KillInBurst,
    Fault::KillWhileStopped,
    Fault::Adopt,
];

/// Faults of the manager whose workers are not its children.
pub(crate) const OF_LOOSE: &[Fault] = &[
    Fault::Cut,
    Fault::Steal,
    Fault::Reregister,
    Fault::ChangePool,
    Fault::Fork,
    Fault::CloseRange,
    Fault::KillManager,
    Fault::RestartManager,
];

/// Faults of the manager that workers dial in to.
pub(crate) const OF_DIALLED: &[Fault] = &[
    Fault::KillDialled,
    Fault::ExitDialled,
    Fault::Script,
    Fault::ForkDialled,
    Fault::KillDialledManager,
    Fault::RestartDialledManager,
];

impl Fault {
    /// Whether it meets all workers of a manager, and so says least about each.
    pub(crate) fn meets_all(self) -> bool {
        matches!(
            self,
            Self::Adopt
                | Self::KillManager
                | Self::RestartManager
                | Self::KillDialledManager
                | Self::RestartDialledManager
        )
    }
}

impl Fault {
    /// Whether the manager holds the memory of those that die of it, so that nothing is unknown.
    pub(crate) fn is_exact(self) -> bool {
        matches!(
            self,
            Self::Recycle
                | Self::Terminate
                | Self::ExitAfterBurst
                | Self::KillSteady
                | Self::KillInBurst
                | Self::KillWhileStopped
                | Self::KillDialled
                | Self::ExitDialled
                | Self::Script
                | Self::ForkDialled
        )
    }
}

/// What a fault did.
#[derive(Debug)]
pub(crate) struct Happened {
    /// Processes it was done to.
    pub(crate) pids: Vec<u32>,
    /// What was seen of it.
    pub(crate) evidence: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Recycle => "planned recycle",
            Self::Terminate => "SIGTERM by somebody else",
            Self::ExitAfterBurst => "os._exit after a burst",
            Self::KillSteady => "kill -9 in steady flow",
            Self::KillInBurst => "kill -9 in a burst",
            Self::KillWhileStopped => "kill -9, manager stopped",
            Self::Adopt => "manager -9, pool adopted",
            Self::Cut => "cut stream",
            Self::Steal => "stolen stream",
            Self::Reregister => "unregister and register",
            Self::ChangePool => "change of pool",
            Self::Fork => "forked child",
            Self::CloseRange => "closed descriptors",
            Self::KillManager => "kill -9 of the manager",
            Self::RestartManager => "restart of the manager",
            Self::KillDialled => "dialled in: kill -9",
            Self::ExitDialled => "dialled in: os._exit",
            Self::Script => "dialled in: script, 0 ms",
            Self::ForkDialled => "dialled in: forked child",
            Self::KillDialledManager => "dialled in: manager -9",
            Self::RestartDialledManager => "dialled in: restart",
        })
    }
}
