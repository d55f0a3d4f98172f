//! What a worker is told on its stream: the hello, the policy in the words it knows, that its end is near.

use std::sync::Arc;

use bytes::Bytes;
use telemetry_core::{
    Mistake,
    emit::PolicySpec,
    is_planted,
    wire::{Control, Greeting, PROTOCOL_REVISION},
};

use super::Session;
use super::control::control_frames;
use super::legacy::legacy_controls;
use super::progress::{LastWord, Progress};

impl Session {
    /// The first controls of a stream; `introduced`: the incarnation and the process of a worker that
    /// dialled in.
    pub(super) fn opening(
        &mut self,
        legacy: bool,
        introduced: Option<(&str, Option<u32>)>,
    ) -> Bytes {
        let mut greeting = Greeting::default();
        greeting.manager_id = self.shared.manager_id.clone();
        greeting.protocol_revision = PROTOCOL_REVISION;
        greeting.acknowledges = true;
        greeting.epoch = 0;
        greeting.position = self.record.tell_position(introduced);
        let hello = Control::Hello(greeting);
        let mut policy = self.newest_policy();
        if is_planted(Mistake::ForgetsPolicy) {
            policy = Arc::default();
        }
        if legacy {
            let told = legacy_controls(&policy);
            self.record.set_legacy(true, told.unsupported);
            control_frames([&hello].into_iter().chain(&told.controls))
        } else {
            control_frames([&hello, &Control::Policy((*policy).clone())])
        }
    }

    /// The newest policy in the words the worker knows.
    fn policy_words(&mut self, legacy: bool) -> Vec<Control> {
        let policy = self.newest_policy();
        if legacy {
            let told = legacy_controls(&policy);
            self.record.set_legacy(true, told.unsupported);
            told.controls.into()
        } else {
            vec![Control::Policy((*policy).clone())]
        }
    }

    /// What is to be said next: the newest policy, what was handled, that the end is near.
    pub(super) fn next_words(&mut self, progress: &mut Progress) -> Bytes {
        let mut words = Vec::new();
        if std::mem::take(&mut progress.policy_due) {
            words.extend(self.policy_words(progress.speech.is_legacy()));
            progress.reader.desire(&self.policy.borrow());
        }
        if let Some(sequence) = progress.acks.take() {
            words.push(Control::Acknowledge { sequence });
        }
        if !progress.rejected.is_empty() {
            words.push(Control::Rejected(std::mem::take(&mut progress.rejected)));
        }
        match progress.farewell.take() {
            Some(LastWord::Drain) => words.push(Control::Drain),
            Some(LastWord::Goodbye) => words.push(Control::Goodbye),
            end @ (Some(LastWord::End) | None) => progress.farewell = end,
        }
        control_frames(&words)
    }

    pub(super) fn newest_policy(&mut self) -> Arc<PolicySpec> {
        Arc::clone(&self.policy.borrow_and_update())
    }
}
