//! The cost of single steps: emit in its forms, a span, reading an event; and exact counts.

mod counts;
mod ours;
mod producers;
mod queues;
mod wire;
pub(crate) mod work;

use crate::environment;
use crate::measure::{Batches, Comparison, Effort, Pinned, compare, control, timed};
use crate::peers::{
    self, DisabledTracing, FastTrace, MetricsHistogram, Naive, OtelHistogram, OtelLog, OtelSpan,
    PrometheusHistogram, TracingEvent, TracingSpan,
};
use crate::report::{Bound, Report, Row, Table};

use ours::{Disabled, Kept, Spans, Worker};
use wire::{Decode, Process, ProstDecode};

/// Runs all of them.
pub(crate) fn run(effort: Effort) -> Report {
    let environment = environment::here(&peers::CRATES);
    peers::subscribe();
    let producers = producers::table(effort);
    let queues = queues::table(effort);
    let counts = counts::rows();

    // What has threads of its own is made before this thread is pinned: they keep the other cores.
    let others = Others::new();
    let _pinned = Pinned::to_last_core();
    let control = control(effort, || timed(Kept::new(Worker::new())));
    let (globs, growth) = globs(effort);
    let mut rows = vec![disabled(effort), globs, room(effort)];
    rows.extend(others.rows(effort));
    rows.extend(reading(effort));
    rows.extend(counts);
    Report {
        suite: "micro".to_owned(),
        quick: effort.quick,
        environment,
        control: Some(control),
        rows,
        tables: vec![growth, producers, queues],
    }
}

/// Measures two things that fill and drain.
fn beside(effort: Effort, ours: impl Batches, peer: impl Batches) -> Comparison {
    compare(effort, &mut timed(ours), &mut timed(peer))
}

fn kept() -> Kept {
    Kept::new(Worker::new())
}

fn kept_in_span() -> Kept {
    Kept::in_span(Worker::new())
}

fn disabled(effort: Effort) -> Row {
    beside(effort, Disabled(Worker::disabled()), DisabledTracing)
        .row("disabled emit", "tracing below its level")
        .target("T1")
        .floor(Bound::ratio_at_least(1.0))
        .moonshot(Bound::ratio_at_least(2.0))
}

/// The row of 1,000 globs, and how the cost grows up to there.
fn globs(effort: Effort) -> (Row, Table) {
    let with = |globs| beside(effort, Kept::new(Worker::with_globs(globs)), kept());
    let (ten, thousand) = (with(10), with(1_000));
    let line = |globs: &str, ns: f64, price: f64| {
        [globs.to_owned(), format!("{ns:.1}"), format!("{price:.3}")].to_vec()
    };
    let table = Table {
        title: "Kept emit by number of globs in the policy".to_owned(),
        columns: ["globs", "ns", "of none"].map(str::to_owned).to_vec(),
        rows: vec![
            line("0", thousand.peer_ns, 1.0),
            line("10", ten.ours_ns, ten.gain.median.recip()),
            line("1,000", thousand.ours_ns, thousand.gain.median.recip()),
        ],
    };
    let row = thousand
        .price_row("kept emit, 1,000 globs", "no glob")
        .target("T3")
        .floor(Bound::ratio_at_most(1.05))
        .moonshot(Bound::ratio_at_most(1.005));
    (row, table)
}

/// The bound of events against the one that was the default before.
fn room(effort: Effort) -> Row {
    let before = || Kept::new(Worker::with_queue(1_024));
    beside(effort, kept(), before()).price_row("kept emit, default queue", "room for 1,024")
}

/// Peers that record an event or a span.
struct Others {
    otel_span: [OtelSpan; 3],
    otel_log: OtelLog,
    otel_histogram: OtelHistogram,
    fast_trace: FastTrace,
    metrics: MetricsHistogram,
    prometheus: PrometheusHistogram,
}

impl Others {
    fn new() -> Self {
        Self {
            otel_span: [OtelSpan::new(), OtelSpan::new(), OtelSpan::new()],
            otel_log: OtelLog::new(),
            otel_histogram: OtelHistogram::new(),
            fast_trace: FastTrace::new(),
            metrics: MetricsHistogram::new(),
            prometheus: PrometheusHistogram::new(),
        }
    }

    fn rows(self, effort: Effort) -> Vec<Row> {
        let [otel_span, other_span, third_span] = self.otel_span;
        let mut fast_trace = timed(self.fast_trace);
        vec![
            beside(effort, kept(), otel_span)
                .row("kept emit", "opentelemetry span")
                .target("T2")
                .floor(Bound::ratio_at_least(5.0))
                .moonshot(Bound::ratio_at_least(8.0)),
            beside(effort, kept(), Naive::new())
                .row("kept emit", "prost build, encode, queue")
                .target("T2")
                .floor(Bound::ratio_at_least(8.0))
                .moonshot(Bound::ratio_at_least(12.0)),
            beside(effort, kept_in_span(), third_span)
                .row("kept emit in a span, with its ids", "opentelemetry span")
                .target("T2")
                .floor(Bound::ratio_at_least(5.0))
                .moonshot(Bound::ratio_at_least(8.0)),
            beside(effort, kept_in_span(), kept())
                .price_row("kept emit in a span, with its ids", "in none"),
            compare(effort, &mut timed(kept()), &mut fast_trace)
                .row("kept emit", "fastrace local span"),
            beside(effort, kept(), TracingEvent).row("kept emit", "tracing event, fmt to a sink"),
            beside(effort, kept(), self.otel_log).row("kept emit", "opentelemetry log"),
            beside(effort, kept(), self.otel_histogram).row("kept emit", "opentelemetry histogram"),
            beside(effort, kept(), self.metrics).row("kept emit", "metrics histogram"),
            beside(effort, kept(), self.prometheus).row("kept emit", "prometheus-client histogram"),
            beside(effort, Spans::new(), other_span)
                .row("span, start and stop events", "opentelemetry span"),
            compare(effort, &mut timed(Spans::new()), &mut fast_trace)
                .row("span, start and stop events", "fastrace local span"),
            beside(effort, Spans::new(), TracingSpan)
                .row("span, start and stop events", "tracing span, fmt to a sink"),
        ]
    }
}

fn reading(effort: Effort) -> Vec<Row> {
    vec![
        beside(effort, Process::new(), ProstDecode::new())
            .row("decode, validate, enrich, dispatch", "prost decode")
            .target("T8")
            .floor(Bound::ratio_at_least(5.0))
            .moonshot(Bound::ratio_at_least(8.0)),
        beside(effort, Process::reading_all(), ProstDecode::new())
            .row("the same, and all metadata as text", "prost decode"),
        beside(effort, Decode::new(), ProstDecode::new()).row("decode", "prost decode"),
    ]
}
