//! What a manager says on a stream, and what becomes of it, whatever carried it here.
//!
//! An error in one control never ends the stream: it is kept for the next report.

use std::sync::Arc;

use prost::Message;
use telemetry_core::wire::Control;
use telemetry_proto::{TelemetryControl, telemetry_control};
use tonic::Status;

use super::session::Session;
use super::sessions::Sessions;

/// How a stream ends whose manager asks for that of another one and says no hello.
pub(super) fn served_already() -> Status {
    Status::already_exists(
        "another manager has the stream of this worker, which only one that says hello takes over",
    )
}

/// The manager's side of one stream.
#[derive(Debug, Clone)]
pub(super) struct Hearing {
    /// The streams of this worker.
    sessions: Arc<Sessions>,
    /// This stream.
    session: Arc<Session>,
}

impl Hearing {
    /// That of a stream which has just begun.
    pub(super) fn new(sessions: Arc<Sessions>, session: Arc<Session>) -> Self {
        Self { sessions, session }
    }

    /// Whether a newer stream has begun.
    fn is_over(&self) -> bool {
        self.session.is_replaced()
    }

    /// Decodes a control and queues it. One that is overtaken by its neighbour is left out, so that a
    /// manager which toggles without pause costs no more than its last word.
    pub(super) fn queue(&self, batch: &mut Vec<Control>, message: &[u8]) {
        let Some(next) = self.read(message) else {
            return;
        };
        match (&next, batch.last_mut()) {
            (Control::Toggle { .. }, Some(last @ Control::Toggle { .. })) => *last = next,
            (Control::Acknowledge { sequence }, Some(Control::Acknowledge { sequence: last })) => {
                *last = (*last).max(*sequence);
            }
            (next, Some(last)) if next == last => {}
            _ => batch.push(next),
        }
    }

    /// Decodes a control and applies it.
    pub(super) fn hear(&self, message: &[u8]) {
        if let Some(control) = self.read(message) {
            self.apply(control);
        }
    }

    /// Decodes a control. One that is refused by its looks is kept for the next report.
    fn read(&self, message: &[u8]) -> Option<Control> {
        let gate = self.sessions.recorder().gate();
        let message = match TelemetryControl::decode(message) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%error, "a control could not be read");
                gate.refuse(None, &format_args!("a control could not be read: {error}"));
                return None;
            }
        };
        match Control::from_proto(&message) {
            Ok(Some(control)) => Some(control),
            Ok(None) => {
                tracing::debug!("a control of an unknown kind was skipped");
                None
            }
            Err(error) => {
                let revision = match &message.control {
                    Some(telemetry_control::Control::Policy(policy)) => Some(policy.revision),
                    Some(telemetry_control::Control::Rules(rules)) => Some(rules.revision),
                    _ => None,
                };
                tracing::warn!(%error, "a control was refused; the policy stays as it was");
                gate.refuse(revision, &error);
                None
            }
        }
    }

    /// Applies one control. Once a newer stream has begun, only what is acknowledged counts.
    pub(super) fn apply(&self, control: Control) {
        let is_over = self.is_over() && !matches!(control, Control::Acknowledge { .. });
        if is_over || self.session.is_refused() {
            return;
        }
        match &control {
            Control::Hello(greeting) => {
                tracing::debug!(?greeting, "the manager said hello");
                if !self.sessions.admits(greeting.epoch) {
                    return self.session.refuse(Status::failed_precondition(
                        "a manager of a later epoch was here",
                    ));
                }
                self.sessions.take_over(&self.session);
                return self.session.greet(greeting.clone());
            }
            _ if self.session.is_asking() => return self.session.refuse(served_already()),
            Control::Acknowledge { sequence } => {
                return self.sessions.acknowledge(&self.session, *sequence);
            }
            Control::Goodbye => return self.session.say_goodbye(),
            Control::Drain => return self.session.drain(),
            Control::Rejected(names) => return self.sessions.config().rejected.add(names),
            // What changes the policy is the gate's.
            _ => {}
        }
        let control = if self.session.is_greeted() {
            Some(control)
        } else {
            control.clamp_legacy()
        };
        if let Some(control) = control
            && let Err(error) = self.sessions.recorder().apply(&control)
        {
            tracing::warn!(%error, "a control was refused; the policy stays as it was");
        }
        self.session.instruct();
    }

    /// The manager's side is over: in order, or cut off, which the pump will notice by itself. A stock
    /// manager that ended it keeps receiving events; for one that said hello it is the goodbye.
    pub(super) fn end(&self, in_order: bool) {
        if in_order {
            self.session.dismiss();
        }
        self.session.hear_all();
    }

    /// What the manager says can no longer be read; the stream ends so.
    pub(super) fn break_off(&self, status: Status) {
        self.session.break_off(status);
    }
}
