//! Sessions, the store that keeps them, and the queue in front of the workers.
//!
//! Thin: a method per event, nothing remembered. Times a host gives are measured by the host.

use std::time::Duration;

use super::{Host, ONCE, nanos};

/// What is known about a command that has to wait. Empty text means not known.
#[derive(Clone, Copy, Default, Debug)]
pub struct QueueContext<'a> {
    /// The command's name.
    pub command: &'a str,
    /// The session it belongs to.
    pub session_id: &'a str,
    /// The job it belongs to.
    pub correlation_id: &'a str,
}

/// Events of commands that wait for a free worker; from [`Host::queue`].
#[derive(Clone, Copy, Debug)]
#[must_use = "names a group of events; call one of its methods"]
pub struct QueueEvents<'h>(pub(super) &'h Host);

impl QueueEvents<'_> {
    /// A command had to wait; `depth` counts it.
    pub fn enqueued(&self, depth: u64, context: &QueueContext<'_>) {
        self.0.emit(
            "snakepit.pool.queue.enqueued",
            &[("queue_depth", depth.into()), self.0.system_time()],
            &[
                ("command", Some(context.command)),
                ("session_id", Some(context.session_id)),
                ("correlation_id", Some(context.correlation_id)),
            ],
        );
    }

    /// A command got a worker after it `waited`; `depth` commands still wait.
    pub fn dequeued(&self, waited: Duration, depth: u64, correlation_id: &str) {
        self.0.emit(
            "snakepit.pool.queue.dequeued",
            &[nanos("queue_time", waited), ("queue_depth", depth.into())],
            &[("correlation_id", Some(correlation_id))],
        );
    }

    /// A command was given up: it `waited` longer than `limit`; `depth` commands still wait.
    pub fn timeout(&self, waited: Duration, depth: u64, limit: Duration, correlation_id: &str) {
        self.0.emit(
            "snakepit.pool.queue.timeout",
            &[nanos("queue_time", waited), ("queue_depth", depth.into())],
            &[
                ("timeout_ms", Some(&limit.as_millis().to_string())),
                ("correlation_id", Some(correlation_id)),
            ],
        );
    }
}

/// Events of sessions; from [`Host::session`].
#[derive(Clone, Copy, Debug)]
#[must_use = "names a group of events; call one of its methods"]
pub struct SessionEvents<'h>(pub(super) &'h Host);

impl SessionEvents<'_> {
    /// A session began.
    pub fn created(&self, session_id: &str) {
        self.0.emit(
            "snakepit.session.created",
            &[self.0.system_time()],
            &[("session_id", Some(session_id))],
        );
    }

    /// A session ended after `lifetime`, in which it ran `commands`.
    pub fn destroyed(&self, session_id: &str, lifetime: Duration, commands: u64, reason: &str) {
        self.0.emit(
            "snakepit.session.destroyed",
            &[
                nanos("lifetime", lifetime),
                ("command_count", commands.into()),
            ],
            &[("session_id", Some(session_id)), ("reason", Some(reason))],
        );
    }

    /// A session was bound to a worker: narrow the host to it with [`Host::for_worker`].
    pub fn affinity_assigned(&self, session_id: &str) {
        self.0.emit(
            "snakepit.session.affinity.assigned",
            &[self.0.system_time()],
            &[("session_id", Some(session_id))],
        );
    }

    /// A session lost its worker after it was bound for `lasted` and ran `commands` there.
    pub fn affinity_broken(&self, session_id: &str, lasted: Duration, commands: u64, reason: &str) {
        self.0.emit(
            "snakepit.session.affinity.broken",
            &[
                nanos("affinity_duration", lasted),
                ("commands_with_affinity", commands.into()),
            ],
            &[("session_id", Some(session_id)), ("reason", Some(reason))],
        );
    }
}

/// Events of the store of sessions and programs; from [`Host::session_store`].
#[derive(Clone, Copy, Debug)]
#[must_use = "names a group of events; call one of its methods"]
pub struct SessionStoreEvents<'h>(pub(super) &'h Host);

impl SessionStoreEvents<'_> {
    /// A session was put into the store.
    pub fn session_created(&self, session_id: &str) {
        self.count("snakepit.session_store.session.created", session_id);
    }

    /// A session was read.
    pub fn session_accessed(&self, session_id: &str) {
        self.count("snakepit.session_store.session.accessed", session_id);
    }

    /// A session was deleted.
    pub fn session_deleted(&self, session_id: &str) {
        self.count("snakepit.session_store.session.deleted", session_id);
    }

    /// A session outlived its time.
    pub fn session_expired(&self, session_id: &str) {
        self.count("snakepit.session_store.session.expired", session_id);
    }

    /// A program was put into a session.
    pub fn program_stored(&self, session_id: &str) {
        self.count("snakepit.session_store.program.stored", session_id);
    }

    /// A program was read from a session.
    pub fn program_retrieved(&self, session_id: &str) {
        self.count("snakepit.session_store.program.retrieved", session_id);
    }

    /// A program was deleted from a session.
    pub fn program_deleted(&self, session_id: &str) {
        self.count("snakepit.session_store.program.deleted", session_id);
    }

    fn count(&self, name: &str, session_id: &str) {
        self.0
            .emit(name, &[ONCE], &[("session_id", Some(session_id))]);
    }
}
