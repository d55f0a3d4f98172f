//! What a process that died left in its ring.
//!
//! The words may be anything: they come from a process that was somebody else's. Nothing here panics, and
//! the time and the memory are in proportion to the words.
//!
//! Records lie one behind the other, so each header says where the next one is. A header is taken for one
//! only if it has the bits of its position. One that is not published is a *hole*, and so are zeros where a
//! header should be: somebody claimed these words and died before he could say how many they are, and
//! zeros end where the next header begins. As a whole the headers have to lead exactly to the tail, and be
//! as many as the cursors say.
//!
//! Where they do not, something was overwritten. Then what lies before the damage is taken as far as each
//! header leads to another one, and the rest from the first place on from which all headers lead to the
//! tail. For that it is computed once for each place, from the back, whether they do.

use std::fmt;
use std::ops::Range;

use super::base::Base;
use super::cursor::{Cursor, MAX_RECORDS};
use super::header::Header;
use crate::region::{FREE, TAIL};

/// A reach that leads nowhere.
const NOWHERE: u32 = u32::MAX;
/// There are zeros in between, which stand for at least one record.
const GAP: u32 = 1 << 31;

/// Both ends of what is kept or waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    base: Base,
    tail: Cursor,
}

impl Ends {
    /// Those that the control words of a region say, if a ring of so many words can have them.
    pub(crate) fn find(control: &[u64], ring: usize) -> Option<Self> {
        let base = Base::find(control)?;
        let tail = Cursor::unpack(*control.get(TAIL)?);
        let told = Cursor::unpack(*control.get(FREE)?);
        let between = tail.since(base.at);
        // One word stays free, and a record has at least its header.
        let is_possible = between.words < ring
            && between.records <= between.words.min(MAX_RECORDS)
            && (between.records == 0) == (between.words == 0)
            // Producers are told after the base is committed, if that was not the last thing done.
            && base.at.since(told).words < ring;
        is_possible.then_some(Self { base, tail })
    }

    /// Number of the last record before the oldest one that is kept.
    pub(crate) fn number(&self) -> u64 {
        self.base.number
    }

    /// Records that are kept or wait, those that were dropped behind others included.
    pub(crate) fn records(&self) -> u64 {
        self.tail.since(self.base.at).records as u64
    }

    /// Records ever let in.
    pub(crate) fn pushed(&self) -> u64 {
        self.base.records.saturating_add(self.records())
    }

    /// Where their words are in a ring of this size: up to its end, and from its start on.
    pub(crate) fn places(&self, ring: usize) -> [Range<usize>; 2] {
        let start = self.base.at.words as usize & (ring - 1);
        let words = self.tail.since(self.base.at).words;
        let front = words.min(ring - start);
        [start..start + front, 0..words - front]
    }

    /// Reads the words at those places.
    pub(crate) fn read(&self, mut words: Vec<u64>) -> Remains {
        // In memory they are to be the bytes of records.
        for word in &mut words {
            *word = word.to_le();
        }
        let mut reader = Reader {
            words: &words,
            start: self.base.at.words,
            left: u32::try_from(self.records()).unwrap_or(NOWHERE),
            found: Vec::new(),
            jump: None,
        };
        reader.read();
        let (found, jump, holes) = (reader.found, reader.jump, u64::from(reader.left));
        let mut remains = Remains {
            words,
            found,
            jump,
            holes,
            number: self.base.number,
            unmarked: None,
        };
        let unpublished = |at: &u32| !remains.header(*at).is_some_and(Header::is_published);
        remains.holes += remains.found.iter().filter(|at| unpublished(at)).count() as u64;
        remains
    }
}

/// What was left.
pub(crate) struct Remains {
    /// The words from the base to the tail, as bytes of records.
    words: Vec<u64>,
    /// Where headers are.
    found: Vec<u32>,
    /// Where something was overwritten, if it was.
    jump: Option<Jump>,
    /// Records that were claimed and are not there.
    holes: u64,
    /// Number of the last record before all of these.
    number: u64,
    /// The header of a record that was dropped and is not marked.
    unmarked: Option<u32>,
}

/// A place where something was overwritten.
#[derive(Debug, Clone, Copy)]
struct Jump {
    /// How many headers were found before.
    at: usize,
    /// How many records are missing.
    missing: u32,
}

/// One record that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left<'a> {
    /// The number under which it was sent, or would have been.
    pub(crate) number: u64,
    /// The tag with which it was pushed.
    pub(crate) tag: u32,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
    /// Where its header is.
    at: u32,
}

#[cfg(all(test, not(loom)))]
impl Left<'_> {
    /// Where its header is, in words behind the base.
    pub(crate) fn at(&self) -> usize {
        self.at as usize
    }
}

impl fmt::Debug for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, {} holes", self.found.len(), self.holes)
    }
}

impl Remains {
    /// Records that were claimed and are not there.
    pub(crate) fn holes(&self) -> u64 {
        self.holes
    }

    /// Whether no header was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether something was overwritten.
    pub(crate) fn is_damaged(&self) -> bool {
        self.jump.is_some()
    }

    /// Whether there is nothing but zeros.
    pub(crate) fn is_blank(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Takes the oldest record with a number above this one for dropped.
    pub(crate) fn drop_first_above(&mut self, number: u64) {
        let first = self.records().find(|it| it.number > number);
        self.unmarked = first.map(|it| it.at);
    }

    /// The records that are whole and were not dropped, oldest first. What is missing where something was
    /// overwritten is taken to have had numbers.
    pub(crate) fn records(&self) -> impl Iterator<Item = Left<'_>> {
        let mut number = self.number;
        let bytes: &[u8] = bytemuck::cast_slice(&self.words);
        self.found.iter().enumerate().filter_map(move |(nth, at)| {
            if let Some(jump) = self.jump.filter(|jump| jump.at == nth) {
                number = number.saturating_add(jump.missing.into());
            }
            let header = self.header(*at)?;
            if !header.is_published() || header.is_dropped() || self.unmarked == Some(*at) {
                return None;
            }
            number = number.saturating_add(1);
            let start = (*at as usize + 1) * size_of::<u64>();
            Some(Left {
                number,
                tag: header.tag(),
                bytes: bytes.get(start..)?.get(..header.len())?,
                at: *at,
            })
        })
    }

    /// A header that was found.
    fn header(&self, at: u32) -> Option<Header> {
        let word = self.words.get(at as usize)?;
        Some(Header::found(u64::from_le(*word)))
    }
}

/// Looks for headers.
struct Reader<'a> {
    words: &'a [u64],
    /// Position of the first of these words.
    start: u32,
    /// Records that are still to be found.
    left: u32,
    found: Vec<u32>,
    jump: Option<Jump>,
}

impl Reader<'_> {
    fn read(&mut self) {
        let all = self.left;
        let (mut at, mut gaps) = (0, 0);
        while let Some(next) = self.step(at, &mut gaps) {
            at = next;
        }
        let is_whole = at == self.words.len() && gaps <= self.left && (gaps > 0 || self.left == 0);
        if !is_whole {
            self.found.clear();
            self.left = all;
            self.read_damaged();
        }
    }

    /// Takes the header that is here, or passes zeros; says where to go on.
    fn step(&mut self, at: usize, gaps: &mut u32) -> Option<usize> {
        if *self.words.get(at)? == 0 {
            let gap = self.words[at..].iter().take_while(|word| **word == 0);
            *gaps += 1;
            return Some(at + gap.count());
        }
        let next = self.next(at)?;
        self.left = self.left.checked_sub(1)?;
        self.found.push(u32::try_from(at).ok()?);
        Some(next)
    }

    /// Where the record ends whose header is here, if one is.
    fn next(&self, at: usize) -> Option<usize> {
        let position = self.start.wrapping_add(u32::try_from(at).ok()?);
        let header = Header::find(u64::from_le(*self.words.get(at)?), position)?;
        Some(at + header.words()).filter(|next| *next <= self.words.len())
    }

    /// Reads words of which some were overwritten.
    fn read_damaged(&mut self) {
        let reach = self.reach();
        let (mut at, mut gaps, mut gaps_before) = (0, 0, 0);
        while self.leads_on(at, gaps, &reach)
            && let before = gaps
            && let Some(next) = self.step(at, &mut gaps)
        {
            (at, gaps_before) = (next, before);
        }
        // Zeros in front of the damage are a part of it.
        gaps = gaps_before;
        let found = self.found.len();
        let behind = self.rejoin(at + 1..self.words.len(), gaps, &reach);
        let there = behind.map_or(0, |at| reach[at] & !GAP);
        self.jump = Some(Jump {
            at: found,
            missing: self.left.saturating_sub(there.saturating_add(gaps)),
        });
        let mut at = behind.unwrap_or(self.words.len());
        while let Some(next) = self.step(at, &mut gaps) {
            at = next;
        }
    }

    /// Whether the word here is no damaged one: it is a zero, or a header that leads to another one. If it
    /// leads elsewhere, then either of the two is damaged: this one if within its record is a place where
    /// all can be joined again.
    fn leads_on(&self, at: usize, gaps: u32, reach: &[u32]) -> bool {
        if at >= self.words.len() || self.left <= gaps {
            return false;
        }
        if self.words[at] == 0 {
            return true;
        }
        self.next(at).is_some_and(|next| {
            let follows = self.words.get(next);
            follows.is_none_or(|word| *word == 0)
                || self.next(next).is_some()
                || self.rejoin(at + 1..next, gaps, reach).is_none()
        })
    }

    /// The first of these places with a header from which all leads to the tail, and by so few records that
    /// what is damaged can have been one.
    fn rejoin(&self, mut places: Range<usize>, gaps: u32, reach: &[u32]) -> Option<usize> {
        places.find(|at| {
            let then = reach[*at];
            self.words[*at] != 0
                && then != NOWHERE
                && (then & !GAP).saturating_add(gaps) < self.left
        })
    }

    /// For each place how many records there are at least if headers lead from it exactly to the tail.
    fn reach(&self) -> Vec<u32> {
        let end = self.words.len();
        let mut reach = vec![NOWHERE; end + 1];
        reach[end] = 0;
        let mut behind_zeros = end;
        for at in (0..end).rev() {
            if self.words[at] == 0 {
                let then = reach[behind_zeros];
                if then != NOWHERE {
                    reach[at] = (then + 1) | GAP;
                }
                continue;
            }
            behind_zeros = at;
            if let Some(then) = self.next(at).map(|next| reach[next])
                && then != NOWHERE
            {
                reach[at] = then + 1;
            }
        }
        reach
    }
}
