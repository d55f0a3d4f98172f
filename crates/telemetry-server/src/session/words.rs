//! What a worker is told on its stream: the hello, the policy in the words it knows, that its end is near.

use std::sync::Arc;

use bytes::Bytes;
use telemetry_core::{Control, PROTOCOL_REVISION, PolicySpec};

use super::Session;
use super::control::control_frames;
use super::legacy::legacy_controls;
use super::progress::Progress;

impl Session {
    /// The first controls of a stream.
    pub(super) fn opening(&mut self, legacy: bool) -> Bytes {
        let hello = Control::Hello {
            manager_id: self.shared.manager_id.clone(),
            protocol_revision: PROTOCOL_REVISION,
        };
        let policy = self.newest_policy();
        if legacy {
            let told = legacy_controls(&policy);
            self.record.set_legacy(true, told.unsupported);
            control_frames([&hello].into_iter().chain(&told.controls))
        } else {
            control_frames([&hello, &Control::Policy((*policy).clone())])
        }
    }

    /// The newest policy in the words the worker knows.
    pub(super) fn policy_frames(&mut self, legacy: bool) -> Bytes {
        let policy = self.newest_policy();
        if legacy {
            let told = legacy_controls(&policy);
            self.record.set_legacy(true, told.unsupported);
            control_frames(&told.controls)
        } else {
            control_frames([&Control::Policy((*policy).clone())])
        }
    }

    /// What is to be said next: the newest policy, or that the end is near.
    pub(super) fn next_words(&mut self, progress: &mut Progress) -> Bytes {
        if std::mem::take(&mut progress.policy_due) {
            return self.policy_frames(progress.speech.is_legacy());
        }
        progress.farewell = None;
        control_frames([&Control::Drain])
    }

    pub(super) fn newest_policy(&mut self) -> Arc<PolicySpec> {
        Arc::clone(&self.policy.borrow_and_update())
    }
}
