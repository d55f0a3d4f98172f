//! A future that runs inside a span: the span begins with the first poll, is the current one during every
//! poll, and ends with the future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Span, SpanBuilder};
use crate::context::Entered;

/// A future inside a span.
#[must_use = "futures do nothing unless polled"]
pub struct Instrumented<F: Future> {
    /// The future.
    future: Pin<Box<F>>,
    /// Where the span stands.
    state: InstrumentedState,
    /// Ends the span when the future is done.
    end: fn(Span, &F::Output),
}

/// Where the span of a future stands.
#[derive(Debug)]
enum InstrumentedState {
    /// Not polled yet.
    Fresh(SpanBuilder<'static>),
    /// Under way.
    Running(Span),
    /// Ended.
    Done,
}

impl<F: Future> Instrumented<F> {
    /// A future that was not polled yet.
    pub(super) fn new(builder: SpanBuilder<'_>, future: F, end: fn(Span, &F::Output)) -> Self {
        Self {
            future: Box::pin(future),
            state: InstrumentedState::Fresh(builder.into_owned()),
            end,
        }
    }
}

impl<F: Future> fmt::Debug for Instrumented<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instrumented")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<F: Future> Future for Instrumented<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        // In hand while the future runs: a panic in there drops it and so ends it as one, even if
        // the executor catches the panic and drops the rest of us later.
        let span = match std::mem::replace(&mut this.state, InstrumentedState::Done) {
            InstrumentedState::Fresh(builder) => Some(builder.start()),
            InstrumentedState::Running(span) => Some(span),
            InstrumentedState::Done => None,
        };
        let entered = Entered::new(span.as_ref().and_then(Span::around));
        let polled = this.future.as_mut().poll(cx);
        drop(entered);
        if let Some(span) = span {
            match &polled {
                Poll::Ready(output) => (this.end)(span, output),
                Poll::Pending => this.state = InstrumentedState::Running(span),
            }
        }
        polled
    }
}

impl<F: Future> Drop for Instrumented<F> {
    fn drop(&mut self) {
        if let InstrumentedState::Running(span) =
            std::mem::replace(&mut self.state, InstrumentedState::Done)
            && !std::thread::panicking()
        {
            span.cancel();
        }
    }
}
