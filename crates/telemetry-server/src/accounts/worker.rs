//! The sums of one registered worker, and whose its present stream is.
//!
//! The session gives the stream's writer in whenever it learns something: hello, report, end. The hello
//! names the incarnation. Events may come before it, from a worker that waited in vain for our first
//! control; they are dispatched like any others, and the hello settles where their stream goes on.
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

use telemetry_core::{Note, Notes, StreamSnapshot, WorkerSnapshot};

use super::book::{Book, Claim, Key, Shared, lock};
use super::incarnation::{End, Implausible, Incarnation, News, Parting};
use super::ledger::{LedgerReader, LedgerWriter};
use crate::identity::WorkerId;

/// Since when all that a new incarnation sends is meant for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its first event: it was asked for a stream, or its predecessor was, before it was there.
    Birth,
    /// Its first event that we see: others may have read it before.
    FirstSight,
    /// As it says itself.
    Told {
        /// Sequence of the last event before this stream.
        sent: u64,
        /// How many of those were sent on streams of ours.
        given: u64,
    },
}

/// What is counted of one worker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    /// Over all streams.
    pub(crate) ledger: StreamSnapshot,
    /// Over the streams of the present incarnation.
    pub(crate) incarnation_ledger: StreamSnapshot,
    /// What has come to its end of what all incarnations emitted, and what is outstanding.
    pub(crate) reported: WorkerSnapshot,
    /// What the present incarnation last reported.
    pub(crate) report: Option<WorkerSnapshot>,
    pub(crate) report_final: bool,
    /// Sequences of the present incarnation that came before this manager.
    pub(crate) joined_at: u64,
    pub(crate) lost_at_crash: u64,
    pub(crate) away: u64,
    pub(crate) unaccounted: u64,
    pub(crate) unknown_since_ns: Option<i64>,
    /// By how many events its last report and what was counted until then disagree.
    pub(crate) difference: u64,
}

/// A report, as an account takes it in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// The counters.
    pub(crate) snapshot: WorkerSnapshot,
    /// The last sequence sent on this stream before it; `None` from workers of revision 1.
    pub(crate) position: Option<u64>,
    /// Whether the counters were read at rest.
    pub(crate) settled: bool,
    /// Whether it is the last word before an orderly end.
    pub(crate) is_final: bool,
    /// Whether it promises that nothing stays behind.
    pub(crate) written_through: bool,
}

/// The account of one registered worker.
#[derive(Debug)]
pub(crate) struct Account {
    book: Arc<Book>,
    /// Its number as an owner.
    owner: u64,
    worker_id: WorkerId,
    pool_name: Option<String>,
    /// Over ended streams.
    folded: StreamSnapshot,
    /// Over ended streams of the present incarnation.
    incarnation_folded: StreamSnapshot,
    /// Where the first of those began.
    joined_at: u64,
    /// What incarnations added to the sums; `queued` and `accepted` are left open.
    reported: WorkerSnapshot,
    /// What is counted about the worker itself and not its events.
    notes: Notes,
    lost: u64,
    unaccounted: u64,
    unknown_since_ns: Option<i64>,
    difference: u64,
    /// The incarnation that was seen last.
    present: Option<Shared>,
    /// The key of the present one; none of a nameless one.
    key: Option<Key>,
    stream: Option<Open>,
    /// The process behind it is known to have ended; told when its stream is read to the end.
    gone: Option<End>,
}

/// The stream that is open.
#[derive(Debug)]
struct Open {
    reader: LedgerReader,
    /// Whose it is.
    standing: Standing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Nobody said.
    Nameless,
    /// There was a hello, and it is not clear whether this one was here without a name before.
    Named(Key),
    /// Another stream of the same incarnation is still being read.
    Waiting(Key),
    /// The present incarnation's.
    Settled,
}

impl Account {
    pub(crate) fn new(book: Arc<Book>, worker_id: WorkerId, pool_name: Option<String>) -> Self {
        Self {
            owner: book.owner(),
            book,
            worker_id,
            pool_name,
            folded: StreamSnapshot::default(),
            incarnation_folded: StreamSnapshot::default(),
            joined_at: 0,
            reported: WorkerSnapshot::default(),
            notes: Notes::default(),
            lost: 0,
            unaccounted: 0,
            unknown_since_ns: None,
            difference: 0,
            present: None,
            key: None,
            stream: None,
            gone: None,
        }
    }

    /// A stream begins.
    pub(crate) fn open(&mut self, writer: &LedgerWriter) {
        self.stream = Some(Open {
            reader: writer.reader(),
            standing: Standing::Nameless,
        });
    }

    /// Takes in who the stream is from; false if somebody else has said so already.
    pub(crate) fn hello(
        &mut self,
        id: &str,
        peer_pid: Option<u32>,
        writer: &mut LedgerWriter,
        origin: Origin,
        now_ns: i64,
    ) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let key = Key {
            id: id.to_owned(),
            peer_pid,
        };
        if stream.standing == Standing::Settled {
            return self.key.as_ref() == Some(&key);
        }
        if id.is_empty() {
            self.settle_by_order(None, writer, origin, now_ns);
        } else {
            stream.standing = Standing::Named(key.clone());
            self.claim(key, writer, origin, now_ns);
        }
        true
    }

    fn claim(&mut self, key: Key, writer: &mut LedgerWriter, origin: Origin, now_ns: i64) {
        match self.book.claim(&key) {
            Claim::Known(it) => {
                if self
                    .present
                    .as_ref()
                    .is_none_or(|old| !Arc::ptr_eq(old, &it))
                {
                    self.replace_present(Arc::clone(&it), Some(key));
                }
                self.settle(&it, writer, origin);
            }
            Claim::Busy => {
                if let Some(stream) = &mut self.stream {
                    stream.standing = Standing::Waiting(key);
                }
            }
            Claim::New => self.settle_by_order(None, writer, origin, now_ns),
        }
    }

    /// Settles a stream of which no known incarnation was named, if its order can tell: by its first
    /// sequence, or by the number of events `sent` before it.
    fn settle_by_order(
        &mut self,
        sent: Option<u64>,
        writer: &mut LedgerWriter,
        origin: Origin,
        now_ns: i64,
    ) {
        let Some(stream) = &self.stream else { return };
        let key = match &stream.standing {
            Standing::Settled | Standing::Waiting(_) => return,
            Standing::Nameless => None,
            Standing::Named(key) => Some(key.clone()),
        };
        // Two names are two incarnations.
        let is_other = key.is_some() && self.key.is_some();
        let same = match &self.present {
            _ if is_other => Some(false),
            Some(present) => goes_on(lock(present).position(), sent, writer),
            None => Some(false),
        };
        match (same, self.present.clone()) {
            (Some(true), Some(present)) => {
                if let Some(key) = key {
                    self.book.name(&present, &key);
                    lock(&present).id.clone_from(&key.id);
                    self.key = Some(key);
                }
                self.settle(&present, writer, origin);
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
        let new = self.book.enter(key.clone(), new);
        self.replace_present(Arc::clone(&new), key);
        self.settle(&new, writer, origin);
    }

    /// Makes another incarnation the present one. The one before it has ended.
    fn replace_present(&mut self, new: Shared, key: Option<Key>) {
        let how = self.gone.take().unwrap_or(End::Unasked);
        if let Some(before) = self.present.replace(new) {
            let mut before = lock(&before);
            if before.owner == Some(self.owner) && !before.claimed {
                let news = before.end(how);
                drop(before);
                self.add(&news);
            }
        }
        self.key = key;
        self.incarnation_folded = StreamSnapshot::default();
        self.joined_at = 0;
        self.difference = 0;
        if let (Some(_), Some(present)) = (&self.key, &self.present) {
            self.book.supersede(&self.worker_id, present);
        }
    }

    /// The open stream is this incarnation's.
    fn settle(&mut self, it: &Shared, writer: &mut LedgerWriter, origin: Origin) {
        let peer_pid = self.key.as_ref().and_then(|key| key.peer_pid);
        let Some(stream) = &mut self.stream else {
            return;
        };
        stream.standing = Standing::Settled;
        let mut incarnation = lock(it);
        incarnation.claimed = true;
        incarnation.owner = Some(self.owner);
        if let Some(pid) = peer_pid {
            incarnation.seen_behind(pid);
        }
        incarnation.worker_id = self.worker_id.clone();
        incarnation.pool_name.clone_from(&self.pool_name);
        incarnation.live = Some(stream.reader.clone());
        // It lives, whatever was thought of it.
        incarnation.ended = false;
        let at = match origin {
            Origin::Told { sent, given } => {
                incarnation.was_told();
                let known = incarnation.resume_at();
                Some(known.unwrap_or((sent.saturating_sub(given), 0)))
            }
            Origin::Birth if incarnation.is_unread() => Some((0, 0)),
            Origin::Birth | Origin::FirstSight => incarnation.resume_at(),
        };
        // Where nothing says it, its first event or its report will.
        if let Some((position, undecoded)) = at {
            writer.follow(position, undecoded);
        }
        if let Origin::Told { sent, given } = origin {
            // What was sent to us and did not arrive is missing; the rest others have to account for.
            let missing = given.saturating_sub(incarnation.sequenced());
            writer.announce(writer.position().saturating_add(missing).min(sent));
            incarnation.pass(sent.saturating_sub(writer.position()));
            writer.skip_to(sent);
        }
    }

    /// Takes in a report.
    ///
    /// # Errors
    ///
    /// [`Implausible`]: nothing of it was taken in.
    pub(crate) fn report(
        &mut self,
        said: Said,
        writer: &mut LedgerWriter,
        origin: Origin,
        now_ns: i64,
    ) -> Result<(), Implausible> {
        self.settle_by_report(said.snapshot.sent, writer, origin, now_ns);
        let present = match (&self.stream, &self.present) {
            (Some(stream), Some(present)) if stream.standing == Standing::Settled => {
                Arc::clone(present)
            }
            // Whose it is has to be known first.
            _ => return Ok(()),
        };
        let taken = self.take_report(said, &present, writer, now_ns);
        match &taken {
            Ok(news) => self.add(news),
            Err(_implausible) => self.notes.add(Note::ImplausibleReport, 1),
        }
        taken.map(drop)
    }

    fn take_report(
        &mut self,
        said: Said,
        present: &Shared,
        writer: &mut LedgerWriter,
        now_ns: i64,
    ) -> Result<News, Implausible> {
        let now = Instant::now();
        let mut incarnation = lock(present);
        incarnation.judge(&said.snapshot, said.position, now)?;
        if !writer.is_settled() {
            writer.begin_after(said.snapshot.sent);
        }
        let announced = said.position.unwrap_or(said.snapshot.sent);
        if announced > 0 && !writer.announce(announced) {
            return Err(Implausible::of_position(writer.position(), announced));
        }
        let own = if said.settled {
            said.snapshot.difference()
        } else {
            0
        };
        // What is ahead of what it says it sent was never sent.
        let ahead = match announced {
            0 => 0,
            announced => writer.position().saturating_sub(announced),
        };
        self.difference = own.saturating_add(ahead);
        let (counted, origin) = (writer.snapshot(), writer.reader().origin());
        let news = incarnation.report(said.snapshot, &counted, origin, (now, now_ns))?;
        incarnation.is_final = said.is_final;
        incarnation.written_through = said.written_through;
        Ok(news)
    }

    /// Takes a report's word for what the worker had sent where it is still open whose the stream is.
    fn settle_by_report(
        &mut self,
        sent: u64,
        writer: &mut LedgerWriter,
        origin: Origin,
        now_ns: i64,
    ) {
        match self.stream.as_ref().map(|stream| stream.standing.clone()) {
            Some(Standing::Waiting(key)) => self.claim(key, writer, origin, now_ns),
            Some(Standing::Nameless | Standing::Named(_)) => {
                self.settle_by_order(Some(sent), writer, origin, now_ns);
            }
            Some(Standing::Settled) | None => {}
        }
    }

    /// Counts that entries of a report were left out.
    pub(crate) fn refuse_entries(&mut self) {
        self.notes.add(Note::ImplausibleReport, 1);
    }

    /// The open stream is over.
    pub(crate) fn close(
        &mut self,
        mut writer: LedgerWriter,
        how: Parting,
        origin: Origin,
        now_ns: i64,
    ) {
        if self.stream.is_none() {
            return;
        }
        self.settle_by_order(None, &mut writer, origin, now_ns);
        if let Some(Open {
            standing: Standing::Waiting(key),
            ..
        }) = &self.stream
        {
            self.claim(key.clone(), &mut writer, origin, now_ns);
        }
        let Some(stream) = self.stream.take() else {
            return;
        };
        if stream.standing == Standing::Settled
            && let Some(present) = self.present.clone()
        {
            let mut incarnation = lock(&present);
            if let Some(last) = incarnation.last().filter(|_| how != Parting::Cut) {
                // What it had sent before it turned to somebody else was for us.
                writer.announce(last.sent);
            }
            let news = incarnation.close(&writer, how, now_ns);
            drop(incarnation);
            self.add(&news);
        }
        let counted = writer.snapshot();
        if stream.standing == Standing::Settled {
            if self.incarnation_folded == StreamSnapshot::default() {
                self.joined_at = stream.reader.origin();
            }
            self.incarnation_folded.merge(&counted);
        } else {
            if let Some(present) = self.present.as_ref().filter(|_| how == Parting::Cut) {
                lock(present).distrust();
            }
            // It showed no sequence, or whom it belongs to is still read elsewhere.
            self.add_evident(&counted);
        }
        self.folded.merge(&counted);
        self.end_if_gone();
    }

    /// The process behind this worker is known to have ended; whatever it sent is still to be read, if
    /// its stream is open. `silent`: one that never said anything counts, too.
    pub(crate) fn process_ended(&mut self, how: End, silent: Option<i64>) {
        self.gone = Some(how);
        if self.stream.is_some() {
            return;
        }
        let is_silent = match &self.present {
            None => true,
            Some(present) => {
                let present = lock(present);
                present.ended || present.owner != Some(self.owner)
            }
        };
        match silent {
            Some(since) if is_silent => {
                self.gone = None;
                self.unaccounted += 1;
                self.unknown_since_ns = Some(since);
            }
            _ => self.end_if_gone(),
        }
    }

    /// Notices that the process behind the socket is gone, where nobody else will say so.
    pub(crate) fn notice_end(&mut self) {
        let is_over = |present: &Shared| {
            let present = lock(present);
            present.owner == Some(self.owner) && present.is_silently_over()
        };
        if self.stream.is_none() && self.present.as_ref().is_some_and(is_over) {
            self.gone.get_or_insert(End::Unasked);
            self.end_if_gone();
        }
    }

    fn end_if_gone(&mut self) {
        let Some(how) = self.gone.take() else { return };
        let Some(present) = self.present.clone() else {
            return;
        };
        let mut incarnation = lock(&present);
        if incarnation.owner == Some(self.owner) && !incarnation.claimed {
            let news = incarnation.end(how);
            drop(incarnation);
            self.add(&news);
        }
    }

    /// The worker is taken away: its present incarnation goes on without an owner.
    pub(crate) fn depart(&mut self) {
        // Its writer went with a task that was cancelled.
        if let Some(stream) = self.stream.take() {
            let counted = stream.reader.snapshot();
            match &self.present {
                Some(present) if stream.standing == Standing::Settled => {
                    let news = lock(present).abandon();
                    self.add(&news);
                }
                _ => self.add_evident(&counted),
            }
            self.folded.merge(&counted);
        }
        if let Some(present) = self.present.take() {
            let mut present = lock(&present);
            if present.owner == Some(self.owner) {
                present.owner = None;
                let number = present.number;
                drop(present);
                self.book.depart(&self.worker_id, number);
            }
        }
        self.key = None;
        self.incarnation_folded = StreamSnapshot::default();
        self.difference = 0;
    }

    /// A copy of all sums at one moment.
    pub(crate) fn sums(&self) -> Sums {
        let mut sums = Sums {
            ledger: self.folded.clone(),
            incarnation_ledger: self.incarnation_folded.clone(),
            reported: self.reported.clone(),
            joined_at: self.joined_at,
            lost_at_crash: self.lost,
            unaccounted: self.unaccounted,
            unknown_since_ns: self.unknown_since_ns,
            difference: self.difference,
            ..Sums::default()
        };
        sums.ledger.notes.merge(&self.notes);
        let counted = self.stream.as_ref().map(|open| open.reader.snapshot());
        if let Some((open, counted)) = self.stream.as_ref().zip(counted.as_ref()) {
            sums.ledger.merge(counted);
            let is_settled = open.standing == Standing::Settled;
            if is_settled || self.key.is_none() || matches!(open.standing, Standing::Named(_)) {
                sums.incarnation_ledger.merge(counted);
            }
            if self.incarnation_folded == StreamSnapshot::default() {
                sums.joined_at = open.reader.origin();
            }
        }
        self.add_present(&mut sums, counted.unwrap_or_default());
        sums.reported.accepted = sums
            .reported
            .emitted
            .saturating_sub(sums.reported.dropped.total());
        sums
    }

    /// Adds what only the present incarnation and the open stream know.
    fn add_present(&self, sums: &mut Sums, counted: StreamSnapshot) {
        let is_settled = |open: &Open| open.standing == Standing::Settled;
        let settled = self.stream.as_ref().is_some_and(is_settled);
        if !settled {
            let evident = evident(&counted);
            sums.reported.merge(&evident);
        }
        let Some(present) = &self.present else { return };
        let present = lock(present);
        if present.owner != Some(self.owner) {
            return;
        }
        let counted = if settled {
            counted
        } else {
            StreamSnapshot::default()
        };
        sums.reported.merge(&present.news(&counted));
        if !present.ended {
            sums.away = present.away(&counted);
            sums.reported.queued = present.outstanding(&counted).saturating_sub(sums.away);
            sums.reported.sent = sums.reported.sent.saturating_add(sums.away);
        }
        sums.report = present.last().cloned();
        sums.report_final = present.is_final;
    }

    fn add_evident(&mut self, counted: &StreamSnapshot) {
        self.reported.merge(&evident(counted));
    }

    fn add(&mut self, news: &News) {
        self.reported.merge(&news.reported);
        self.lost = self.lost.saturating_add(news.lost);
        if news.unknown_since_ns.is_some() {
            self.unaccounted += 1;
            self.unknown_since_ns = news.unknown_since_ns;
        }
    }
}

/// What is emitted and sent for certain if this arrived.
fn evident(counted: &StreamSnapshot) -> WorkerSnapshot {
    WorkerSnapshot {
        emitted: counted.received.saturating_add(counted.gaps),
        sent: counted.sequenced.saturating_add(counted.gaps),
        ..WorkerSnapshot::default()
    }
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

#[cfg(test)]
mod tests;
