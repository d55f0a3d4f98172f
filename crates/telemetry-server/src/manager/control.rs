//! Control: what workers should emit, and how it reaches them.
//!
//! A control is checked whole, kept as desired state, and sent by the sessions; a worker that is not
//! connected gets it when it is. Several controls in quick succession reach a worker as one policy.

use telemetry_core::{Control, SamplingRule};

use super::Manager;
use crate::desired::{ControlReceipt, ControlRefused, Target};

impl Manager {
    /// Turns the events of workers on or off; rules and filters stay.
    ///
    /// # Errors
    ///
    /// [`ControlRefused`] if the worker is unknown; nothing has changed then.
    pub fn toggle(&self, target: Target, enabled: bool) -> Result<ControlReceipt, ControlRefused> {
        self.control(&target, &Control::Toggle { enabled })
    }

    /// Sets the share of events to keep, a probability in [0, 1], for the wire names that match one
    /// of `patterns`; an empty list means every event and replaces all rules.
    ///
    /// A rule with patterns has no effect on the workers listed as `legacy` in the receipt.
    ///
    /// # Errors
    ///
    /// [`ControlRefused`] if the rate or a pattern is not allowed, a worker would have too many
    /// rules, or the worker is unknown; nothing has changed anywhere then.
    pub fn update_sampling(
        &self,
        target: Target,
        rate: f64,
        patterns: &[String],
    ) -> Result<ControlReceipt, ControlRefused> {
        let rule = SamplingRule {
            rate,
            patterns: patterns.to_vec(),
        };
        self.control(&target, &Control::Sampling(rule))
    }

    /// Replaces both filter lists. Deny wins over allow; an empty allow list lets everything
    /// through.
    ///
    /// # Errors
    ///
    /// [`ControlRefused`] if a pattern is not allowed or the worker is unknown; nothing has changed
    /// anywhere then.
    pub fn update_filter(
        &self,
        target: Target,
        allow: &[String],
        deny: &[String],
    ) -> Result<ControlReceipt, ControlRefused> {
        self.control(
            &target,
            &Control::Filter {
                allow: allow.to_vec(),
                deny: deny.to_vec(),
            },
        )
    }

    /// Applies any control. A hello changes nothing but the revision.
    ///
    /// # Errors
    ///
    /// [`ControlRefused`]; nothing has changed anywhere then.
    pub fn control(
        &self,
        target: &Target,
        control: &Control,
    ) -> Result<ControlReceipt, ControlRefused> {
        let (revision, workers) = self.inner.desired.apply(target, control)?;
        let registry = self.inner.lock();
        let is_legacy = |id: &&_| {
            registry
                .workers
                .get(*id)
                .is_some_and(|entry| entry.record.is_legacy())
        };
        let legacy = workers.iter().filter(is_legacy).cloned().collect();
        drop(registry);
        self.inner.changes.notify();
        Ok(ControlReceipt {
            revision,
            workers,
            legacy,
        })
    }
}
