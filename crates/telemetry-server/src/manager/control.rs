//! Control: what workers should emit, and how it reaches them.
//!
//! A control is checked whole, kept as desired state, and sent by the sessions; a worker that is not
//! connected gets it when it is. Several controls in quick succession reach a worker as one policy.

use std::time::Duration;

use telemetry_core::{
    emit::SamplingRule,
    wire::{Control, capability},
};

use super::Manager;
use super::RegisterError;
use crate::accounts::End;
use crate::desired::{ControlReceipt, ControlRefused, Target};
use crate::identity::WorkerContext;
use crate::identity::WorkerId;
use crate::session::{StreamInfo, StreamState};
use telemetry_core::Address;

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
        let rule = SamplingRule::new(rate, patterns.to_vec());
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

    /// Has a worker whose process is about to be ended send what it holds, and hold nothing back from
    /// then on: an `emit` returns only once its event, or the count of its drop, is on its way. Then the
    /// process may be ended in whatever way, and nothing of it is lost or unknown; say so with
    /// [`process_ended`](Self::process_ended).
    ///
    /// False at once for a worker that is not streaming or cannot do that, and after `timeout`.
    pub async fn drain_worker(&self, id: &WorkerId, timeout: Duration) -> bool {
        let can = |info: &StreamInfo| {
            let greeted = !info.incarnation.is_empty();
            info.state == StreamState::Streaming
                && (!greeted || info.capabilities.iter().any(|it| it == capability::DRAIN))
        };
        {
            let registry = self.inner.lock();
            let Some(entry) = registry.workers.get(id) else {
                return false;
            };
            if !can(&self.inner.info(id, &entry.record)) {
                return false;
            }
            entry.drain.send_replace(true);
        }
        let over = |info: &StreamInfo| info.written_through || !can(info);
        let info = self.wait_for(id, over, timeout).await;
        info.is_ok_and(|info| info.written_through && can(&info))
    }

    /// Says that the process of a worker has ended, which a pool does for its own. What the worker had
    /// reported and did not send is lost from then on. `drained`: it was drained by
    /// [`drain_worker`](Self::drain_worker) and did not have to be killed, so that its account is
    /// complete although it said no last word. False if there is no such worker.
    ///
    /// If the worker handed its memory over, what it left there is read first: that takes a moment, and as
    /// long as inline handlers take for those events.
    pub fn process_ended(&self, id: &WorkerId, drained: bool) -> bool {
        let Some(record) = self.inner.registered(id) else {
            return false;
        };
        let how = if drained { End::Drained } else { End::Unasked };
        record.process_ended(&self.inner.shared, how);
        true
    }

    /// Registers a worker whose end will be told with [`process_ended`](Self::process_ended), as by who
    /// started its process; then the manager draws no conclusion of its own from that it is gone.
    ///
    /// # Errors
    ///
    /// As [`register_worker`](Self::register_worker).
    pub fn register_supervised(
        &self,
        endpoint: Address,
        context: WorkerContext,
    ) -> Result<WorkerId, RegisterError> {
        let id = self.register_worker(endpoint, context)?;
        if let Some(entry) = self.inner.lock().workers.get(&id) {
            entry.record.supervise();
        }
        Ok(id)
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
        let (revision, workers) = self.inner.shared.desired.apply(target, control)?;
        let registry = self.inner.lock();
        let is_legacy = |id: &&_| {
            registry
                .workers
                .get(*id)
                .is_some_and(|entry| entry.record.is_legacy())
        };
        let legacy = workers.iter().filter(is_legacy).cloned().collect();
        for entry in workers.iter().filter_map(|id| registry.workers.get(id)) {
            entry.record.notify();
        }
        drop(registry);
        self.inner.changes.notify();
        Ok(ControlReceipt {
            revision,
            workers,
            legacy,
        })
    }
}
