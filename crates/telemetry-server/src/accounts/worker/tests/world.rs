//! A simulated fleet whose truth is known, through everything that may happen to a registration.
//!
//! The simulated worker keeps its own counts as a real one does; the truth is what was really emitted,
//! and who really got what. After every step the laws of the sums must hold and nothing may fall.

use std::collections::BTreeMap;

use telemetry_core::ledger::Reason;

use super::super::super::incarnation::End;
use super::super::sums::Sums;
use super::super::*;
use crate::accounts::{Arrival, Place};

/// A place where the system shows no process.
pub(super) fn nowhere() -> Place {
    Place::Address("nowhere".to_owned())
}

/// A generator of repeatable numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A worker process as it is.
#[derive(Debug, Default, Clone)]
pub(super) struct Process {
    pub(super) id: String,
    pub(super) emitted: u64,
    pub(super) dropped: u64,
    pub(super) sent: u64,
    pub(super) queued: u64,
    /// Sequences that are on the way to us, on the present stream.
    pub(super) under_way: Vec<u64>,
    pub(super) position: u64,
    /// How many events went out on our streams.
    pub(super) given: u64,
    /// What really came about.
    pub(super) arrived: u64,
    pub(super) cut: u64,
    pub(super) stolen: u64,
}

impl Process {
    pub(super) fn report(&self) -> WorkerSnapshot {
        let mut report = WorkerSnapshot::default();
        report.emitted = self.emitted;
        report.accepted = self.sent + self.queued;
        report.sent = self.sent;
        report.queued = self.queued;
        report.dropped.add(Reason::QueueFull, self.dropped);
        report
    }

    pub(super) fn send(&mut self, most: u64) {
        for _ in 0..most.min(self.queued) {
            self.queued -= 1;
            self.sent += 1;
            self.position = self.sent;
            self.given += 1;
            self.under_way.push(self.sent);
        }
    }
}

/// One worker id with its registration at the manager.
pub(super) struct Slot {
    pub(super) process: Process,
    account: Option<Account>,
    stream: Option<LedgerWriter>,
    born: u64,
}

pub(super) struct World {
    dice: Dice,
    /// Whether workers say who was given what, as those of revision 2 do.
    tells: bool,
    pub(super) book: Arc<Book>,
    pub(super) slots: Vec<Slot>,
    /// Sums of accounts that departed.
    folded: Sums,
    /// What really became of every incarnation.
    pub(super) truth: BTreeMap<String, Process>,
    highest: Sums,
    /// With a thief, what was on its way when the stream was stolen is read to the end first.
    lives: u64,
}

fn process(lives: &mut u64) -> Process {
    *lives += 1;
    Process {
        id: format!("life {lives}"),
        ..Process::default()
    }
}

impl World {
    pub(super) fn new(seed: u64, slots: u64) -> Self {
        let mut lives = 0;
        let book: Arc<Book> = Arc::default();
        let slots = (0..slots)
            .map(|_| Slot {
                process: process(&mut lives),
                account: None,
                stream: None,
                born: 0,
            })
            .collect();
        Self {
            dice: Dice(seed | 1),
            tells: seed.is_multiple_of(2),
            book,
            slots,
            folded: Sums::default(),
            truth: BTreeMap::new(),
            highest: Sums::default(),
            lives,
        }
    }

    fn account(&self, slot: usize, pool: u64) -> Account {
        let worker = WorkerId::from(format!("w{slot}"));
        Account::new(Arc::clone(&self.book), worker, Some(format!("p{pool}")))
    }

    pub(super) fn step(&mut self) {
        let slot = usize::try_from(self.dice.below(self.slots.len() as u64)).expect("small");
        match self.dice.below(16) {
            0..=3 => self.emit(slot),
            4..=7 => self.deliver(slot),
            8 => self.say(slot),
            9 | 10 => self.connect(slot),
            11 => self.cut(slot),
            12 => self.steal(slot),
            13 => self.unregister(slot),
            14 => self.die(slot, false),
            _ => self.die(slot, true),
        }
    }

    pub(super) fn emit(&mut self, slot: usize) {
        let (more, dropped) = (self.dice.below(20), self.dice.below(3));
        let process = &mut self.slots[slot].process;
        process.emitted += more + dropped;
        process.queued += more;
        process.dropped += dropped;
    }

    pub(super) fn deliver(&mut self, slot: usize) {
        let most = self.dice.below(30);
        let it = &mut self.slots[slot];
        let Some(writer) = &mut it.stream else { return };
        it.process.send(most);
        for sequence in it.process.under_way.drain(..) {
            let arrival = writer.arrival(sequence);
            assert!(matches!(arrival, Arrival::Next { .. }));
            writer.count(arrival, None);
            it.process.arrived += 1;
        }
    }

    pub(super) fn say(&mut self, slot: usize) {
        self.deliver(slot);
        let it = &mut self.slots[slot];
        let (Some(writer), Some(account)) = (&mut it.stream, &mut it.account) else {
            return;
        };
        let said = Said {
            snapshot: it.process.report(),
            position: Some(it.process.position),
            settled: true,
            ..Said::default()
        };
        account
            .report(said, writer, Origin::FirstSight, 1)
            .expect("an honest worker");
    }

    /// A stream opens: hello and a first report.
    pub(super) fn connect(&mut self, slot: usize) {
        let pool = self.dice.below(2);
        if self.slots[slot].account.is_none() {
            self.slots[slot].account = Some(self.account(slot, pool));
        }
        let it = &mut self.slots[slot];
        if it.stream.is_some() {
            return;
        }
        let Some(account) = &mut it.account else {
            return;
        };
        let mut writer = LedgerWriter::default();
        account.open(&writer);
        it.process.position = 0;
        let origin = match self.tells {
            true => Origin::Told {
                sent: it.process.sent,
                given: it.process.given,
            },
            false => Origin::FirstSight,
        };
        assert!(account.hello(&it.process.id, nowhere(), &mut writer, origin, 1));
        it.stream = Some(writer);
        self.say(slot);
    }

    /// What was on its way is lost.
    fn cut(&mut self, slot: usize) {
        let lost = self.dice.below(10);
        let it = &mut self.slots[slot];
        let unread = it.stream.is_none() && self.tells && it.process.arrived > 0;
        if let (true, Some(account)) = (unread, &mut it.account) {
            // A stream of which we never heard anything.
            let writer = LedgerWriter::default();
            account.open(&writer);
            it.stream = Some(writer);
        }
        if it.stream.is_some() {
            it.process.send(lost);
            it.process.cut += it.process.under_way.drain(..).count() as u64;
        }
        self.close(slot, Parting::Cut);
    }

    /// Another manager takes the stream, gets some events, and leaves.
    fn steal(&mut self, slot: usize) {
        if self.slots[slot].stream.is_none() {
            return;
        }
        // The last report before the worker turns to somebody else.
        self.say(slot);
        let how = match self.dice.below(2) {
            0 => Parting::Left,
            _ => Parting::Replaced,
        };
        self.close(slot, how);
        self.emit(slot);
        let process = &mut self.slots[slot].process;
        let given = process.given;
        process.send(40);
        process.given = given;
        process.stolen += process.under_way.drain(..).count() as u64;
    }

    fn close(&mut self, slot: usize, how: Parting) {
        let it = &mut self.slots[slot];
        if let (Some(writer), Some(account)) = (it.stream.take(), &mut it.account) {
            account.close(writer, how, Origin::Birth, 1);
        }
    }

    fn unregister(&mut self, slot: usize) {
        // The last word before we leave.
        self.say(slot);
        self.close(slot, Parting::Left);
        if let Some(mut account) = self.slots[slot].account.take() {
            account.depart();
            add(&mut self.folded, &account.sums());
        }
    }

    /// The process ends: in order with a final report, or not.
    fn die(&mut self, slot: usize, in_order: bool) {
        let it = &mut self.slots[slot];
        if it.stream.is_none() || it.process.emitted == 0 {
            return;
        }
        if in_order {
            self.emit(slot);
            while self.slots[slot].process.queued > 0 {
                self.deliver(slot);
            }
            let it = &mut self.slots[slot];
            if let (Some(writer), Some(account)) = (&mut it.stream, &mut it.account) {
                let said = Said {
                    snapshot: it.process.report(),
                    position: Some(it.process.position),
                    settled: true,
                    is_final: true,
                    ..Said::default()
                };
                let taken = account.report(said, writer, Origin::FirstSight, 1);
                taken.expect("an honest worker");
            }
        }
        self.close(slot, Parting::Cut);
        let it = &mut self.slots[slot];
        if let Some(account) = &mut it.account {
            account.process_ended(End::Unasked, None);
            account.end_if_gone();
        }
        self.truth.insert(it.process.id.clone(), it.process.clone());
        it.process = process(&mut self.lives);
        it.born = it.process.emitted;
    }

    fn sums(&self) -> Sums {
        let mut sums = self.folded.clone();
        for account in self.slots.iter().filter_map(|slot| slot.account.as_ref()) {
            add(&mut sums, &account.sums());
        }
        for strays in self.book.strays().values() {
            sums.lost_at_crash += strays.lost;
            sums.reported.emitted += strays.lost;
            sums.reported.sent += strays.lost + strays.away;
            sums.reported.queued += strays.queued;
            sums.away += strays.away;
            sums.unaccounted += strays.unaccounted;
        }
        sums
    }

    /// Laws, and nothing falls.
    pub(super) fn check(&mut self) {
        let sums = self.sums();
        let (ledger, reported) = (&sums.ledger, &sums.reported);
        assert_eq!(ledger.check(), Ok(()));
        let arrived = ledger.received + ledger.gaps;
        let sequenced = ledger.sequenced + ledger.gaps;
        let sent = sequenced + sums.lost_at_crash + sums.away;
        assert_eq!(reported.sent, sent, "M3");
        let accounted = arrived + reported.dropped.total() + sums.lost_at_crash;
        assert_eq!(reported.emitted, accounted, "{sums:#?}");
        assert!(reported.emitted >= ledger.received + reported.dropped.total());
        let before = std::mem::replace(&mut self.highest, sums.clone());
        for (now, then) in [
            (reported.emitted, before.reported.emitted),
            (reported.dropped.total(), before.reported.dropped.total()),
            (ledger.received, before.ledger.received),
            (ledger.gaps, before.ledger.gaps),
            (sums.lost_at_crash, before.lost_at_crash),
            (sums.unaccounted, before.unaccounted),
        ] {
            assert!(now >= then, "a sum fell from {then} to {now}");
        }
    }
}

fn add(sums: &mut Sums, more: &Sums) {
    sums.ledger.merge(&more.ledger);
    sums.reported.merge(&more.reported);
    sums.lost_at_crash += more.lost_at_crash;
    sums.away += more.away;
    sums.unaccounted += more.unaccounted;
}
