//! The counters of one metric series, and how two of them become one.
//!
//! Plain words without any sharing: whoever holds a series owns it. Nothing ever falls here, except
//! that a gauge is replaced.

use telemetry_core::{EventRef, catalog::MetricKind};

use super::plan::{Measure, Plan};

/// All metrics of one event with one set of labels.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// Events seen.
    pub(super) events: u64,
    /// In the order of the plan's measures.
    pub(super) cells: Box<[Cell]>,
}

/// One measurement of a series.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    /// The sum of what was counted.
    Counter(f64),
    /// Observations, by bucket; the last one has no bound.
    Histogram {
        /// Observations in each bucket alone.
        buckets: Box<[u64]>,
        /// Sum of the observations.
        sum: f64,
    },
    /// The last level; `None` before the first.
    Gauge(Option<f64>),
}

impl Series {
    pub(super) fn new(plan: &Plan) -> Self {
        let cell = |measure: &Measure| match measure.kind {
            MetricKind::Histogram => Cell::Histogram {
                buckets: vec![0; measure.buckets.len() + 1].into(),
                sum: 0.0,
            },
            MetricKind::Gauge => Cell::Gauge(None),
            _ => Cell::Counter(0.0),
        };
        Self {
            events: 0,
            cells: plan.measures.iter().map(cell).collect(),
        }
    }

    /// Counts one event. The number of measurements that are no metric value: infinite, not a
    /// number, or negative where only a rise makes sense.
    pub(super) fn count(&mut self, plan: &Plan, event: &EventRef<'_>) -> u64 {
        self.events += 1;
        let mut refused = 0;
        for (measure, cell) in plan.measures.iter().zip(&mut self.cells) {
            let Some(value) = event.measurement(&measure.key) else {
                continue;
            };
            let value = value
                .as_f64()
                .map_or(f64::NAN, |value| value * measure.scale);
            refused += u64::from(!cell.take(value, &measure.buckets));
        }
        refused
    }

    /// Adds what `other` counted; takes its gauges where it has some.
    pub(super) fn merge(&mut self, other: &Self) {
        self.events += other.events;
        for (mine, theirs) in self.cells.iter_mut().zip(&other.cells) {
            mine.merge(theirs);
        }
    }

    /// Forgets levels: they are those of something that is gone, or of many things at once.
    pub(super) fn forget_gauges(&mut self) {
        for cell in &mut self.cells {
            if let Cell::Gauge(level) = cell {
                *level = None;
            }
        }
    }
}

impl Cell {
    fn take(&mut self, value: f64, bounds: &[f64]) -> bool {
        if !value.is_finite() {
            return false;
        }
        match self {
            Self::Gauge(level) => *level = Some(value),
            _ if value < 0.0 => return false,
            Self::Counter(sum) => *sum += value,
            Self::Histogram { buckets, sum } => {
                // All bounds are looked at: without branches this is quicker than a search.
                let place: usize = bounds.iter().map(|bound| usize::from(*bound < value)).sum();
                buckets[place] += 1;
                *sum += value;
            }
        }
        true
    }

    fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Counter(mine), Self::Counter(theirs)) => *mine += theirs,
            (Self::Gauge(mine), Self::Gauge(theirs)) => *mine = theirs.or(*mine),
            (
                Self::Histogram {
                    buckets: mine,
                    sum: my_sum,
                },
                Self::Histogram {
                    buckets: theirs,
                    sum: their_sum,
                },
            ) => {
                for (mine, theirs) in mine.iter_mut().zip(theirs) {
                    *mine += theirs;
                }
                *my_sum += their_sum;
            }
            // Cells of one place in one plan are of one kind.
            _ => {}
        }
    }
}
