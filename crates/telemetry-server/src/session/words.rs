//! What a worker is told on its stream: the hello, what it is wanted to do in the words it knows, that its
//! end is near.

use std::sync::Arc;

use bytes::Bytes;
use telemetry_core::{
    Mistake, is_planted,
    rules::WorkerRules,
    wire::{Control, Greeting, PROTOCOL_REVISION},
};

use super::Session;
use super::control::control_frames;
use super::legacy::legacy_controls;
use super::progress::{LastWord, Progress};
use super::rest::{approximation, wire_rules};
use crate::desired::Wanted;

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
        let wanted = self.newest();
        if is_planted(Mistake::ForgetsPolicy) {
            return control_frames([&hello, &Control::Policy(Default::default())]);
        }
        let words = self.words(&wanted, legacy);
        control_frames([&hello].into_iter().chain(&words))
    }

    /// What is wanted of the worker, in words that it knows. One that was never met is told in all that are
    /// ours: it leaves out what it does not know, and the last one counts.
    fn words(&self, wanted: &Wanted, legacy: bool) -> Vec<Control> {
        let dispatcher = &self.shared.dispatcher;
        if legacy {
            let (controls, unsupported) = legacy_controls(wanted, dispatcher);
            self.record.set_legacy(true, unsupported);
            return controls.into();
        }
        let knows = self.record.knows_rules();
        self.record.told(knows);
        let mut words = Vec::new();
        if knows != Some(true) {
            words.push(Control::Policy(approximation(wanted, dispatcher).policy));
        }
        if knows != Some(false) {
            let rules = wire_rules(wanted, dispatcher);
            words.push(Control::Rules(WorkerRules::new(wanted.revision(), rules)));
        }
        words
    }

    /// What is to be said next: the newest policy, what was handled, that the end is near.
    pub(super) fn next_words(&mut self, progress: &mut Progress) -> Bytes {
        let mut words = Vec::new();
        if std::mem::take(&mut progress.policy_due) {
            let wanted = self.newest();
            let legacy = progress.speech.is_legacy();
            words.extend(self.words(&wanted, legacy));
            progress.reader.desire(wanted, legacy);
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

    pub(super) fn newest(&mut self) -> Arc<Wanted> {
        Arc::clone(&self.policy.borrow_and_update())
    }
}
