//! Those who wait until what they counted is written, and the end of the process, which is for
//! everybody to wait so.
//!
//! One ticket after the other is taken up: what is queued by then is handed over, a report follows,
//! and once all of that is in the socket whoever has that ticket or a lower one is answered.

use std::task::Context;

use telemetry_core::emit::Mark;

use super::Pump;

/// What those who wait for want: everything up to here, then a report.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    /// Their ticket.
    ticket: u64,
    /// Behind the last event that has to be handed over.
    mark: Mark,
}

/// What was done about the end of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    /// Nobody spoke of it.
    None,
    /// Emits wait for their outcomes; what was queued before is being sent.
    Begun,
    /// And that is done, so reports may promise that there is nothing else.
    Promised,
}

impl Pump {
    /// Takes up what somebody waits for, one thing at a time, or the end of the process.
    pub(super) fn take_up(&mut self) {
        let recorder = self.sessions.recorder();
        if self.session.is_draining() && self.drain == Drain::None {
            // In a server of the program's own nobody knows what is written, so nothing is promised.
            if self.outbox.is_metered() {
                self.sessions.begin_write_through(&self.session);
            }
            self.drain = Drain::Begun;
            self.gathers = false;
        } else if self.goal.is_some() || self.on_its_way.is_some() || !self.is_asked() {
            return;
        }
        self.taken_up = recorder.asked();
        self.goal = Some(Goal {
            ticket: self.taken_up,
            mark: recorder.mark(),
        });
    }

    /// Whether somebody waits for what was not taken up, and could be.
    pub(super) fn is_asked(&self) -> bool {
        self.on_its_way.is_none() && self.sessions.recorder().asked() > self.taken_up
    }

    /// Once all of a goal is in `out` and before, has a report follow; says whether that is so.
    pub(super) fn reach_goal(&mut self, out: &mut Vec<u8>) -> bool {
        let recorder = self.sessions.recorder();
        let Some(goal) = self.goal.take_if(|goal| recorder.is_past(goal.mark)) else {
            return false;
        };
        if self.drain == Drain::Begun {
            self.drain = Drain::Promised;
        }
        if self.greeted {
            self.report_news(out);
        }
        let chunks = self.outbox.handed() + u64::from(!out.is_empty());
        self.on_its_way = Some((goal, chunks));
        true
    }

    /// Answers those who wait if what they wait for is in the socket, or is woken when more is.
    pub(super) fn answer(&mut self, cx: &Context<'_>) {
        let Some((goal, chunks)) = self.on_its_way else {
            return;
        };
        if !self.outbox.is_written(chunks) {
            self.outbox.wake_when_written(cx.waker());
            // More may have been written between the look and that.
            if !self.outbox.is_written(chunks) {
                return;
            }
        }
        self.on_its_way = None;
        self.sessions.recorder().answer(goal.ticket, goal.mark);
    }
}
