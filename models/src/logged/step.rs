//! What can happen, in words.

use std::fmt;

use crate::seat::Seat;

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the text of each is below")]
pub enum Step {
    Emitted { is_kept: bool },
    Sent { event: u8, to: Seat, is_again: bool },
    HeardAck { of: Seat, up_to: u8 },
    Opened { by: Seat, epoch: u8, from: u8 },
    Read { by: Seat, handled: u8 },
    Published { by: Seat, first: u8, last: u8 },
    Acked { by: Seat, up_to: u8 },
    HeardOfBatch { by: Seat, is_taken: bool, last: u8 },
    Arrived { of: Seat, first: u8, last: u8 },
    BatchLost { of: Seat },
    ReplyLost { to: Seat },
    Repeated { by: Seat },
    Reconciled { by: Seat },
    Cut { of: Seat },
    Killed { seat: Seat },
    Restarted { seat: Seat },
    TookLease { by: Seat, epoch: u8 },
    SawLeaseGone { by: Seat },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Emitted { is_kept: true } => write!(f, "the program emits"),
            Self::Emitted { is_kept: false } => write!(f, "the program emits; the queue is full"),
            Self::Sent {
                event,
                to,
                is_again,
            } => {
                let again = if is_again { " again" } else { "" };
                write!(f, "the worker sends {event} to {to}{again}")
            }
            Self::HeardAck { of, up_to } => {
                write!(f, "the worker hears from {of}: durable up to {up_to}")
            }
            Self::Opened { by, epoch, from } => write!(
                f,
                "{by} opens a stream with epoch {epoch}; the worker resumes from {from}"
            ),
            Self::Read { by, handled } => write!(f, "{by} reads a message, handled {handled}"),
            Self::Published { by, first, last } => write!(f, "{by} publishes {first} to {last}"),
            Self::Acked { by, up_to } => write!(f, "{by} acknowledges up to {up_to}"),
            Self::HeardOfBatch { by, is_taken, last } => {
                let fate = if is_taken { "in" } else { "not in" };
                write!(
                    f,
                    "{by} hears that the batch up to {last} is {fate} the log"
                )
            }
            Self::Arrived { of, first, last } => {
                write!(f, "the batch {first} to {last} of {of} reaches the log")
            }
            Self::BatchLost { of } => write!(f, "a batch of {of} is lost"),
            Self::ReplyLost { to } => write!(f, "a reply to {to} is lost"),
            Self::Repeated { by } => write!(f, "{by} hears nothing and publishes the same again"),
            Self::Reconciled { by } => write!(f, "{by} hears nothing and looks at lease and log"),
            Self::Cut { of } => write!(f, "the stream of {of} is cut"),
            Self::Killed { seat } => write!(f, "{seat} is killed"),
            Self::Restarted { seat } => write!(f, "{seat} is started anew"),
            Self::TookLease { by, epoch } => write!(f, "{by} takes the lease, epoch {epoch}"),
            Self::SawLeaseGone { by } => write!(f, "{by} sees that the lease is gone"),
        }
    }
}
