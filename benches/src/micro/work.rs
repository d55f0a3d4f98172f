//! Single steps by name, for tools that watch a process from outside.
//!
//! `telemetry-benches work NAME --runs N` does nothing else than those runs.

use telemetry_core::rules::WireAction;

use crate::measure::{BATCH, Batches, run_and_watch};
use crate::peers::{self, DisabledTracing, Naive, OtelSpan};

use super::ours::{Disabled, Kept, Spans, Worker};
use super::wire::{Decode, Process, ProstDecode};

/// Something that a process of its own can do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// On the command line.
    pub(crate) name: &'static str,
    /// Does it that often.
    run: fn(usize),
}

/// A limit that is never reached.
const PLENTY: WireAction = WireAction::PerSecond {
    limit: 1e9,
    burst: None,
};

/// All of them.
const WORKS: [Work; 14] = [
    Work {
        name: "kept-emit",
        run: |runs| counted(Kept::new(Worker::new()), runs),
    },
    Work {
        name: "kept-emit-in-span",
        run: |runs| counted(Kept::in_span(Worker::new()), runs),
    },
    Work {
        name: "kept-emit-in-half-batches",
        run: |runs| run_and_watch(&mut Kept::new(Worker::new()), runs, BATCH / 2),
    },
    Work {
        name: "kept-emit-under-globs",
        run: |runs| counted(Kept::new(Worker::with_globs(1_000)), runs),
    },
    Work {
        name: "kept-emit-under-rules",
        run: |runs| counted(Kept::new(Worker::with_rules(WireAction::Keep)), runs),
    },
    Work {
        name: "limited-emit",
        run: |runs| counted(Kept::new(Worker::with_rules(PLENTY)), runs),
    },
    Work {
        name: "disabled-emit",
        run: |runs| counted(Disabled(Worker::disabled()), runs),
    },
    Work {
        name: "span",
        run: |runs| counted(Spans::new(), runs),
    },
    Work {
        name: "process",
        run: |runs| counted(Process::new(), runs),
    },
    Work {
        name: "decode",
        run: |runs| counted(Decode::new(), runs),
    },
    Work {
        name: "naive-emit",
        run: |runs| counted(Naive::new(), runs),
    },
    Work {
        name: "disabled-tracing",
        run: |runs| {
            peers::subscribe();
            counted(DisabledTracing, runs);
        },
    },
    Work {
        name: "otel-span",
        run: |runs| counted(OtelSpan::new(), runs),
    },
    Work {
        name: "prost-decode",
        run: |runs| counted(ProstDecode::new(), runs),
    },
];

fn counted(mut work: impl Batches, runs: usize) {
    run_and_watch(&mut work, runs, BATCH);
}

/// Does `runs` of the work of that name.
pub(crate) fn run(name: &str, runs: usize) -> Result<(), String> {
    let work = WORKS.into_iter().find(|work| work.name == name);
    let work = work.ok_or_else(|| {
        let names = WORKS.map(|work| work.name);
        format!("there is no work {name:?}; there is: {}", names.join(", "))
    })?;
    (work.run)(runs);
    Ok(())
}
