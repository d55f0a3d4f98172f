//! Whose the open stream is: of the present incarnation, of one that was here before, or of a new one.
//!
//! The hello names the incarnation. Events may come before it, from a worker that waited in vain for our
//! first control; they are dispatched like any others, and the hello settles where their stream goes on.
//! Without its word the order decides, because the sequences of an incarnation only ever rise: what
//! begins above the highest one so far goes on with the present incarnation, and what does not is from
//! a new one.
//!
//! A worker that never says hello is therefore never told that it repeats itself across streams. Its
//! streams count for one nameless incarnation as long as the sequences rise, and what is missing
//! between two of them is a gap. Where it restarts and is ahead of the old one at once, which nobody
//! can see, the jump counts as a gap: rather a loss too many than one in silence.

use std::sync::Arc;
use std::time::Instant;

use telemetry_core::{Mistake, is_planted, ledger::StreamSnapshot};

use super::super::book::{Claim, Key, Place, Shared, lock};
use super::super::incarnation::{End, Incarnation};
use super::super::ledger::LedgerWriter;
use super::super::process::Process;
use super::{Account, Origin, Standing};

impl Account {
    /// Takes in who the stream is from; false if somebody else has said so already.
    pub(crate) fn hello(
        &mut self,
        id: &str,
        place: Place,
        writer: &mut LedgerWriter,
        origin: Origin,
        now_ns: i64,
    ) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let pid = place.pid();
        let mut key = Key {
            id: id.to_owned(),
            place,
        };
        if !id.is_empty() {
            key = self.book.recognise(key, &self.worker_id);
        }
        if stream.standing == Standing::Assigned {
            return self.key.as_ref() == Some(&key);
        }
        stream.told = Some(origin);
        stream.pid = pid;
        if id.is_empty() {
            self.assign_by_order(None, writer, origin, now_ns);
        } else {
            stream.standing = Standing::Named(key.clone());
            self.claim(key, writer, origin, now_ns);
        }
        true
    }

    pub(super) fn claim(
        &mut self,
        key: Key,
        writer: &mut LedgerWriter,
        origin: Origin,
        now_ns: i64,
    ) {
        // It may have been met in another way while this one waited.
        let key = self.book.recognise(key, &self.worker_id);
        match self.book.claim(&key) {
            Claim::Known(it) => {
                let present = self.present.as_ref();
                if present.is_some_and(|old| Arc::ptr_eq(old, &it)) {
                    self.key = Some(key);
                } else {
                    self.replace_present(Arc::clone(&it), Some(key));
                }
                self.assign(&it, writer, origin);
            }
            Claim::Busy => {
                if let Some(stream) = &mut self.stream {
                    stream.standing = Standing::Waiting(key);
                }
            }
            Claim::New => self.assign_by_order(None, writer, origin, now_ns),
        }
    }

    /// Settles a stream of which no known incarnation was named, if its order can tell: by its first
    /// sequence, or by the number of events `sent` before it.
    pub(super) fn assign_by_order(
        &mut self,
        sent: Option<u64>,
        writer: &mut LedgerWriter,
        origin: Origin,
        now_ns: i64,
    ) {
        let Some(stream) = &self.stream else { return };
        let key = match &stream.standing {
            Standing::Assigned | Standing::Waiting(_) => return,
            Standing::Nameless => None,
            Standing::Named(key) => Some(key.clone()),
        };
        // Two names are two incarnations.
        let is_other = key.is_some() && self.key.is_some();
        let same = match &self.present {
            _ if is_other => Some(false),
            Some(present) => {
                let present = lock(present);
                match present.owner == Some(self.owner) && !present.claimed {
                    true => goes_on(present.position(), sent, writer),
                    // It goes on elsewhere.
                    false => Some(false),
                }
            }
            None => Some(false),
        };
        match (same, self.present.clone()) {
            (Some(true), Some(present)) => {
                if let Some(key) = key {
                    self.book.name(&present, &key);
                    lock(&present).id.clone_from(&key.id);
                    self.key = Some(key);
                }
                self.assign(&present, writer, origin);
            }
            (Some(_), _) => self.begin_new(key, writer, origin, now_ns),
            (None, _) => {}
        }
    }

    /// An incarnation that nobody has heard of.
    fn begin_new(
        &mut self,
        key: Option<Key>,
        writer: &mut LedgerWriter,
        origin: Origin,
        now_ns: i64,
    ) {
        let id = key.as_ref().map_or_else(String::new, |key| key.id.clone());
        let new = Incarnation::new(
            id,
            self.worker_id.clone(),
            self.pool_name.clone(),
            Instant::now(),
            now_ns,
        );
        // Whoever followed another one here was asked for before it was there.
        let origin = match (origin, &self.present) {
            (Origin::FirstSight, Some(_)) => Origin::Birth,
            _ => origin,
        };
        let Some(new) = self.book.enter(key.clone(), new) else {
            // Somebody was quicker by a moment; its word comes with the next report.
            if let (Some(stream), Some(key)) = (&mut self.stream, key) {
                stream.standing = Standing::Waiting(key);
            }
            return;
        };
        self.replace_present(Arc::clone(&new), key);
        self.assign(&new, writer, origin);
    }

    /// Makes another incarnation the present one. The one before it has ended.
    fn replace_present(&mut self, new: Shared, key: Option<Key>) {
        let gone = self.gone.take();
        // A number may be another process's by now: who lives there need not be whoever left this.
        let is_left = self.stream.as_ref().is_some_and(|stream| stream.is_left);
        let here = key.as_ref().filter(|_| !is_left);
        let here = here.and_then(|key| key.place.pid()).and_then(Process::of);
        if let Some(before) = self.present.replace(Arc::clone(&new)) {
            let mut before = lock(&before);
            if before.owner == Some(self.owner) && !before.claimed {
                if gone.is_none() && before.outlives(here) {
                    // It was pushed from its place, and may still come back at another one.
                    before.owner = None;
                    let number = before.number;
                    drop(before);
                    self.book.depart(&self.worker_id, number);
                } else {
                    let news = before.end(gone.map_or(End::Unasked, |gone| gone.how));
                    drop(before);
                    self.add(&news);
                }
            }
        }
        self.key = key;
        self.incarnation_folded = StreamSnapshot::default();
        self.joined_at = 0;
        self.difference = 0;
        if let (Some(_), Some(present)) = (&self.key, &self.present) {
            self.book.supersede(&self.worker_id, present, here);
        }
    }

    /// The open stream is this incarnation's.
    fn assign(&mut self, it: &Shared, writer: &mut LedgerWriter, origin: Origin) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        stream.standing = Standing::Assigned;
        let mut incarnation = lock(it);
        incarnation.claimed = true;
        incarnation.owner = Some(self.owner);
        if let Some(pid) = stream.pid {
            incarnation.seen_behind(pid);
        }
        incarnation.worker_id = self.worker_id.clone();
        incarnation.pool_name.clone_from(&self.pool_name);
        incarnation.live = Some(stream.reader.clone());
        incarnation.revive();
        if let Origin::Resumed { at, missed } = origin {
            incarnation.was_told();
            let position = incarnation.resume_at().map(|(position, _)| position);
            // Of one that was not here before it begins with what is lost.
            let passed = match writer.first() {
                None => resume(
                    writer,
                    position.unwrap_or(at.saturating_sub(missed)),
                    at,
                    missed,
                ),
                // Its hello comes late: what is lost lies before what it has sent.
                Some(first) => {
                    let before = first.saturating_sub(1);
                    let between = before.saturating_sub(position.unwrap_or(before));
                    writer.miss(missed.min(between));
                    between - missed.min(between)
                }
            };
            return incarnation.pass(passed);
        }
        let at = match origin {
            Origin::Told { sent, given } => {
                incarnation.was_told();
                let known = incarnation.resume_at();
                Some(known.unwrap_or((sent.saturating_sub(given), 0)))
            }
            Origin::Birth if incarnation.is_unread() => Some((0, 0)),
            Origin::Birth | Origin::FirstSight | Origin::Resumed { .. } => incarnation.resume_at(),
        };
        // Where nothing says it, its first event or its report will.
        if let Some((position, undecoded)) = at
            && !(writer.first().is_some() && matches!(origin, Origin::Told { .. }))
        {
            writer.follow(position, undecoded);
        }
        if let Origin::Told { sent, given } = origin {
            // What was sent to us and did not arrive is missing; the rest others have to account for.
            let missing = given.saturating_sub(incarnation.sequenced());
            let position = at.map_or(0, |at| at.0);
            if writer.first().is_some() {
                // It learns late whose it is.
                writer.miss(missing);
            } else {
                writer.announce(position.saturating_add(missing).min(sent));
                writer.skip_to(sent);
            }
            incarnation.pass(sent.saturating_sub(position.saturating_add(missing)));
        }
    }

    /// Takes a report's word for what the worker had sent where it is still open whose the stream is.
    pub(super) fn assign_by_report(
        &mut self,
        sent: u64,
        writer: &mut LedgerWriter,
        origin: Origin,
        now_ns: i64,
    ) {
        let origin = self.told().unwrap_or(origin);
        match self.stream.as_ref().map(|stream| stream.standing.clone()) {
            Some(Standing::Waiting(key)) => self.claim(key, writer, origin, now_ns),
            Some(Standing::Nameless | Standing::Named(_)) => {
                self.assign_by_order(Some(sent), writer, origin, now_ns);
            }
            Some(Standing::Assigned) | None => {}
        }
    }
}

/// Has a stream go on at a sequence where it goes on behind `position`, and so many in between are lost. Returns
/// how many others have to account for.
fn resume(writer: &mut LedgerWriter, position: u64, at: u64, missed: u64) -> u64 {
    let end = position + missed.min(at.saturating_sub(position));
    writer.follow(position, 0);
    writer.announce(end);
    if is_planted(Mistake::GapTwice) {
        writer.miss(missed);
    }
    writer.skip_to(at);
    at.saturating_sub(end)
}

/// Whether a stream goes on behind `position`, by its first sequence or by the number of events `sent`
/// before it; `None` if there is neither.
fn goes_on(position: u64, sent: Option<u64>, writer: &LedgerWriter) -> Option<bool> {
    if position == 0 {
        return Some(true);
    }
    let next = sent.map(|sent| sent.saturating_add(1));
    let first = writer.first().or(next)?;
    Some(first > position)
}
