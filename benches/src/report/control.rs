//! The same thing measured against itself: what a suite can tell apart on this machine, right now.

use serde::{Deserialize, Serialize};

use super::Spread;

/// How far a control may be from 1, unless its suite says otherwise, before what it controls gets no
/// verdict.
pub(crate) const CONTROL_TOLERANCE: f64 = 0.03;
/// How often a control is measured at most, while it is off.
const ATTEMPTS: u32 = 3;

/// Ours against itself.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Control {
    /// Median of the ratios of the pairs; 1 on a perfect machine.
    pub(crate) ratio: f64,
    /// Lowest ratio of a pair.
    pub(crate) min: f64,
    /// Highest ratio of a pair.
    pub(crate) max: f64,
    /// Whether `ratio` is within `tolerance` of 1.
    pub(crate) ok: bool,
    /// How often it was measured.
    #[serde(default = "once")]
    pub(crate) attempts: u32,
    /// How far from 1 it may be.
    #[serde(default = "usual")]
    pub(crate) tolerance: f64,
}

impl Control {
    /// Measures it, and again while it is off.
    pub(crate) fn of(tolerance: f64, mut measure: impl FnMut() -> Spread) -> Self {
        let mut control = Self {
            ratio: f64::NAN,
            min: f64::NAN,
            max: f64::NAN,
            ok: false,
            attempts: 0,
            tolerance,
        };
        while !control.ok && control.attempts < ATTEMPTS {
            let Spread { median, min, max } = measure();
            control.attempts += 1;
            (control.ratio, control.min, control.max) = (median, min, max);
            control.judge();
        }
        control
    }

    /// Computes `ok`.
    pub(super) fn judge(&mut self) {
        self.ok = (self.ratio - 1.0).abs() <= self.tolerance;
    }
}

fn once() -> u32 {
    1
}

fn usual() -> f64 {
    CONTROL_TOLERANCE
}
