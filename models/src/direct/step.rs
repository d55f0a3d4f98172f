//! What can happen, in words that somebody can follow by hand.

use std::fmt;

use crate::seat::Seat;

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the text of each is below")]
pub enum Step {
    Emitted {
        is_kept: bool,
    },
    Sent {
        event: u8,
        to: Seat,
        forgets: Option<u8>,
    },
    SentAgain {
        event: u8,
        to: Seat,
    },
    Reported {
        position: u8,
        to: Seat,
    },
    Forgot {
        event: u8,
    },
    Resumed {
        to: Seat,
        from: u8,
        position: u8,
    },
    HeardAck {
        of: Seat,
        up_to: u8,
    },
    RefusedAck {
        of: Seat,
        up_to: u8,
    },
    Opened {
        by: Seat,
        handled: Option<u8>,
    },
    Met {
        by: Seat,
        retained_from: u8,
        position: u8,
    },
    Read {
        by: Seat,
        event: u8,
    },
    ReadReport {
        by: Seat,
        position: u8,
    },
    Dispatched {
        by: Seat,
        event: u8,
    },
    LeftOut {
        by: Seat,
        event: u8,
    },
    Acked {
        by: Seat,
        up_to: u8,
    },
    AckedAbsurdly {
        by: Seat,
        up_to: u8,
    },
    Cut {
        of: Seat,
    },
    Killed {
        seat: Seat,
    },
    Restarted {
        seat: Seat,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Emitted { is_kept: true } => write!(f, "the program emits"),
            Self::Emitted { is_kept: false } => write!(f, "the program emits; the queue is full"),
            Self::Sent {
                event,
                to,
                forgets: None,
            } => write!(f, "the worker sends {event} to {to}"),
            Self::Sent {
                event,
                to,
                forgets: Some(forgotten),
            } => write!(
                f,
                "the worker sends {event} to {to} and forgets {forgotten}"
            ),
            Self::SentAgain { event, to } => write!(f, "the worker sends {event} to {to} again"),
            Self::Reported { position, to } => {
                write!(f, "the worker reports to {to}: position {position}")
            }
            Self::Forgot { event } => write!(f, "the ring is full: the worker forgets {event}"),
            Self::Resumed { to, from, position } => write!(
                f,
                "the worker hears the hello of {to}, says its own with position {position}, and resumes from {from}"
            ),
            Self::HeardAck { of, up_to } => {
                write!(f, "the worker hears from {of}: acknowledged up to {up_to}")
            }
            Self::RefusedAck { of, up_to } => {
                write!(
                    f,
                    "the worker takes no acknowledgement of {up_to} from {of}"
                )
            }
            Self::Opened { by, handled: None } => {
                write!(
                    f,
                    "{by} opens a stream; its hello knows no such incarnation"
                )
            }
            Self::Opened {
                by,
                handled: Some(handled),
            } => write!(f, "{by} opens a stream; its hello says handled {handled}"),
            Self::Met {
                by,
                retained_from,
                position,
            } => write!(
                f,
                "{by} reads the hello: retained from {retained_from}, position {position}"
            ),
            Self::Read { by, event } => write!(f, "{by} reads {event}"),
            Self::ReadReport { by, position } => {
                write!(f, "{by} reads a report: position {position}")
            }
            Self::Dispatched { by, event } => write!(f, "{by} dispatches {event}"),
            Self::LeftOut { by, event } => write!(f, "{by} drops {event}, a duplicate"),
            Self::Acked { by, up_to } => write!(f, "{by} acknowledges up to {up_to}"),
            Self::AckedAbsurdly { by, up_to } => {
                write!(f, "{by} acknowledges up to {up_to}, which was never sent")
            }
            Self::Cut { of } => write!(f, "the stream of {of} is cut"),
            Self::Killed { seat } => write!(f, "{seat} is killed"),
            Self::Restarted { seat } => write!(f, "{seat} is started anew"),
        }
    }
}
