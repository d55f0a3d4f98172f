//! What a dead incarnation left in its region: its last counters, every event that nobody else has, its
//! open spans.
//!
//! The bytes are hostile: they were written by a process that may have been anybody's. Each part is read
//! once, all in all no more than the region has, and what is kept of it is in proportion to that. Nothing
//! here panics, and whatever does not fit together is an error rather than a zero.
//!
//! What was counted and what lies in the ring may disagree by what each thread was just doing. Counted
//! first and marked then is an event that is dropped out of the queue, so the oldest one that was not sent
//! may be both counted and there; it is left out.

#[cfg(all(test, not(loom)))]
mod tests;

use std::io;
use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::callsite::{names_in, totals_of};
use crate::ledger::{Counts, NameCount, Reading, Reason, Stage, WorkerSnapshot, counts_of};
use crate::open_spans::{OpenSpan, spans_in};
use crate::queue::{Ends, Remains};
use crate::region::{
    ACKNOWLEDGED, CLOCK_ZERO, CONTROL_WORDS, DROPPED_LATE, FORGOTTEN, HANDED_OVER, IN_HANDS,
    Identity, Layout, REPEATED, RegionError, SENT, TAKEN_OVER, UNDER_WAY,
};

/// Bytes of a word.
const WORD: u64 = size_of::<u64>() as u64;

/// Bytes that can be read at any place, such as those of a file.
pub trait ReadAt {
    /// How many there are.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from knowing.
    fn size(&self) -> io::Result<u64>;

    /// Reads some of the bytes from a place on, and says how many.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from reading.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let there = self.get(from..).unwrap_or_default();
        let count = bytes.len().min(there.len());
        bytes[..count].copy_from_slice(&there[..count]);
        Ok(count)
    }
}

/// Why nothing was recovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The bytes could not be read.
    #[error("the region could not be read: {0}")]
    Read(#[from] io::Error),
    /// They are no region.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// What it says cannot be.
    #[error("the region contradicts itself: {0}")]
    Contradiction(&'static str),
    /// There have to be events, and there are none.
    #[error("the region holds none of the {expected} events that its counters tell of")]
    NothingFound {
        /// How many there have to be.
        expected: u64,
    },
}

/// What an incarnation left.
#[derive(Debug)]
pub struct Recovered {
    /// Whose it was.
    pub identity: Identity,
    /// Its counters. `queued` are the events that it had not sent: those that are given out here, those of
    /// [`holes`](Self::holes), and those in the hands of backends. A law may be off by one for each thread
    /// that was just counting.
    pub counters: WorkerSnapshot,
    /// Events whose end was just being counted, in more places than one.
    pub under_way: u64,
    /// Counters by event name, for names of up to 120 bytes.
    pub names: Vec<NameCount>,
    /// Records that were claimed and never written, or overwritten: each is one lost event.
    pub holes: u64,
    /// Whether something was overwritten. The sequences behind that place are a guess.
    pub is_damaged: bool,
    /// Sequence of the last event that is not here, because a manager acknowledged it or there was no room
    /// to keep it.
    pub released: u64,
    /// Spans that were open, the latest first.
    pub spans: Vec<OpenSpan>,
    /// Wall clock at the zero of the clock of open spans, nanoseconds since the Unix epoch.
    pub clock_zero_ns: i64,
    /// The ring.
    remains: Remains,
}

/// One event that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveredEvent<'a> {
    /// Its sequence; of one that was never sent the one that it would have got.
    pub sequence: u64,
    /// Its bytes as they were queued, without a frame and without a sequence.
    pub bytes: &'a [u8],
}

impl Recovered {
    /// Wall clock at which a span began that was open, nanoseconds since the Unix epoch.
    #[must_use]
    pub fn began(&self, span: &OpenSpan) -> i64 {
        let started = i64::try_from(span.started_ns).unwrap_or(i64::MAX);
        self.clock_zero_ns.saturating_add(started)
    }

    /// The events that are there and have sequences above this one, oldest first: each once, and all that
    /// were neither acknowledged nor dropped.
    pub fn events(&self, after: u64) -> impl Iterator<Item = RecoveredEvent<'_>> {
        let records = self.remains.records();
        records
            .filter(move |record| record.number > after)
            .map(|record| RecoveredEvent {
                sequence: record.number,
                bytes: record.bytes,
            })
    }
}

/// Whose region it is, whether or not that still writes it.
///
/// # Errors
///
/// [`RecoveryError`] if it cannot be read or is no region.
pub fn identify(source: &(impl ReadAt + ?Sized)) -> Result<Identity, RecoveryError> {
    let control = words(source, 0..CONTROL_WORDS)?;
    let head = control
        .first_chunk()
        .ok_or(RecoveryError::Contradiction("it has no head"))?;
    Ok(Layout::read(head, source.size()?)?.1)
}

/// Reads what an incarnation left. Nobody may write it any more.
///
/// # Errors
///
/// [`RecoveryError`] if it cannot be read, is no region, or does not hold what it says.
pub fn recover(source: &(impl ReadAt + ?Sized)) -> Result<Recovered, RecoveryError> {
    let control = words(source, 0..CONTROL_WORDS)?;
    let head = control
        .first_chunk()
        .ok_or(RecoveryError::Contradiction("it has no head"))?;
    let (layout, identity) = Layout::read(head, source.size()?)?;
    let counters = words(source, layout.counters())?;
    let count = |cell: usize| counters.get(cell).copied().unwrap_or_default();
    let ring = layout.ring();
    let ends = Ends::find(&control, ring.len()).ok_or(RecoveryError::Contradiction(
        "its cursors are not in this order, or not in this ring",
    ))?;
    let sent = count(SENT);
    if ends.number() > sent || sent > ends.pushed() {
        return Err(RecoveryError::Contradiction(
            "its cursors and the events that were sent disagree",
        ));
    }

    let mut records = Vec::new();
    for place in ends.places(ring.len()) {
        records.extend(words(
            source,
            ring.start + place.start..ring.start + place.end,
        )?);
    }
    let mut remains = ends.read(records);
    // All that left the queue without having been sent.
    let gone = [DROPPED_LATE, TAKEN_OVER, IN_HANDS].map(count);
    let gone = gone.into_iter().fold(0, u64::saturating_add);
    let expected = (ends.pushed() - sent).checked_sub(gone);
    let unsent = |remains: &Remains| {
        let records = remains.records().filter(|record| record.number > sent);
        records.count() as u64 + remains.holes()
    };
    if !remains.is_damaged()
        && expected.is_some_and(|expected| expected.checked_add(1) == Some(unsent(&remains)))
    {
        remains.drop_first_above(sent);
    }
    let kept = sent - ends.number();
    if remains.is_empty() && (kept > 0 || !remains.is_blank()) {
        let expected = ends.records();
        return Err(RecoveryError::NothingFound { expected });
    }
    let under_way = count(UNDER_WAY);
    let most = ends.records().saturating_add(under_way);
    if remains.is_empty() && expected.is_none_or(|expected| expected > most) {
        let expected = expected.unwrap_or_default();
        return Err(RecoveryError::NothingFound { expected });
    }

    let (dropped, notes) = counts_of(count);
    let acknowledged = count(ACKNOWLEDGED).min(sent);
    let sites = words(source, layout.sites())?;
    let reading = Reading {
        pushed: ends.pushed(),
        waiting: unsent(&remains),
        // What was acknowledged a moment ago is kept no more, whether or not it is gone already.
        retained: sent - ends.number().max(acknowledged),
        handed_over: count(HANDED_OVER),
        taken_over: count(TAKEN_OVER),
        in_hands: count(IN_HANDS),
        dropped_late: count(DROPPED_LATE),
        sent,
        acknowledged,
        forgotten: count(FORGOTTEN),
        repeated: count(REPEATED),
        ended_in_sites: totals_of(sites.iter().copied()),
        dropped: of_a_worker(&dropped),
        notes,
    };
    let mut waiting: FxHashMap<u32, u64> = FxHashMap::default();
    for record in remains.records().filter(|record| record.number > sent) {
        *waiting.entry(record.tag).or_default() += 1;
    }
    let names = words(source, layout.names())?;
    Ok(Recovered {
        identity,
        counters: reading.into_snapshot(),
        under_way,
        names: names_in(&sites, &names, |tag| {
            waiting.get(&tag).copied().unwrap_or_default()
        }),
        holes: remains.holes(),
        is_damaged: remains.is_damaged(),
        released: ends.number(),
        spans: spans_in(&words(source, layout.spans())?),
        clock_zero_ns: control[CLOCK_ZERO].cast_signed(),
        remains,
    })
}

/// Drops under reasons that a worker may count; what it counted under others is `other`.
fn of_a_worker(dropped: &Counts) -> Counts {
    let mut counts = Counts::default();
    for (reason, count) in dropped.iter() {
        let is_known = reason.stage() == Stage::Worker;
        counts.add(if is_known { reason } else { Reason::Other }, count);
    }
    counts
}

/// Reads words.
fn words(source: &(impl ReadAt + ?Sized), range: Range<usize>) -> Result<Vec<u64>, io::Error> {
    let mut words = vec![0_u64; range.len()];
    let mut bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    let mut offset = range.start as u64 * WORD;
    while !bytes.is_empty() {
        let count = source.read_at(bytes, offset)?.min(bytes.len());
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[count..];
        offset += count as u64;
    }
    Ok(words)
}
