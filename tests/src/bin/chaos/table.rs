//! The end of a run: every process is judged, and what came of it is printed.

use std::collections::BTreeMap;
use std::path::Path;

use telemetry_tests::truth::{Arrivals, Finding, Pages, Seen, Verdict, judge};

use crate::faults::{Fault, OF_DIALLED, OF_LOOSE, OF_POOL};
use crate::record::Record;

/// Accounts that are shown word for word.
const SHOWN: usize = 12;

/// Where the truth is.
pub(crate) struct Truth<'a> {
    pub(crate) pages: &'a Pages,
    /// Directories of what managers dispatched.
    pub(crate) arrivals: &'a [&'a Path],
    /// What a thief dispatched.
    pub(crate) stolen: &'a Arrivals,
}

/// Sums over some processes.
#[derive(Debug, Default)]
struct Sums {
    processes: u64,
    emitted: u64,
    arrived: u64,
    twice: u64,
    dropped: u64,
    gaps: u64,
    lost: u64,
    recovered: u64,
    unknown: u64,
    unknown_missing: u64,
    silent: u64,
}

impl Sums {
    fn add(&mut self, verdict: &Verdict, seen: &Seen) {
        let row = verdict.row.clone().unwrap_or_default();
        let is_unknown = verdict.finding == Finding::Unknown;
        self.processes += 1;
        self.emitted += verdict.truth.returned;
        self.arrived += seen.distinct();
        self.twice += seen.twice;
        self.dropped += row.dropped;
        self.gaps += row.gaps;
        self.lost += row.lost_at_crash;
        self.recovered += row.recovered.unwrap_or_default();
        self.unknown += u64::from(is_unknown);
        if is_unknown {
            self.unknown_missing += verdict.truth.returned.saturating_sub(seen.distinct());
        }
        self.silent += verdict.silent;
    }
}

/// Judges and prints; whether everything is as it should be. A worker whose memory its manager held
/// may not even be unknown.
pub(crate) fn print(record: &Record, truth: &Truth<'_>) -> bool {
    let record = record.lock();
    let seen = seen(truth);
    let mut by_cause: BTreeMap<Option<Fault>, Sums> = BTreeMap::new();
    let mut all = Sums::default();
    let (mut wrong, mut unread) = (Vec::new(), Vec::new());
    for (pid, counted) in truth.pages.all() {
        let verdict = judge(pid, counted, record.book.of(pid));
        let cause = record.causes.get(&pid).copied();
        let seen = seen.get(&pid).cloned().unwrap_or_default();
        by_cause.entry(cause).or_default().add(&verdict, &seen);
        all.add(&verdict, &seen);
        let cause_is_exact = cause.is_some_and(Fault::is_exact);
        if verdict.finding == Finding::Unknown && cause_is_exact {
            let cause = cause.map(|it| it.to_string()).unwrap_or_default();
            unread.push(format!("{cause}, and its memory was not read: {verdict}"));
        }
        if verdict.finding == Finding::Silent {
            let cause = cause.map_or_else(|| "end in order".to_owned(), |it| it.to_string());
            wrong.push(format!(
                "{cause}: {verdict}; {} dispatched",
                seen.distinct()
            ));
        }
    }
    println!(
        "{:<25} {:>8} {:>8} {:>6} {:>8} {:>7} {:>8} {:>7}  evidence",
        "fault", "injected", "happened", "procs", "events", "unknown", "missing", "silent"
    );
    let mut missed = Vec::new();
    let none = Sums::default();
    for fault in OF_POOL.iter().chain(OF_LOOSE).chain(OF_DIALLED) {
        let times = record.faults.get(fault);
        let (injected, happened) = times.map_or((0, 0), |it| (it.injected, it.happened));
        if happened == 0 {
            missed.push(fault.to_string());
        }
        let sums = by_cause.get(&Some(*fault)).unwrap_or(&none);
        row(&format!("{fault:<25} {injected:>8} {happened:>8}"), sums);
        println!("  {}", times.map_or("never", |it| &it.evidence));
    }
    let rest = by_cause.get(&None).unwrap_or(&none);
    row(&format!("{:<25} {:>8} {:>8}", "end in order", "", ""), rest);
    println!("\n");
    println!(
        "{} processes emitted {} (truth); arrived {} (twice {}, recovered {}), dropped {}, gaps {}, \
         lost {}; {} died unseen with {} missing",
        all.processes,
        all.emitted,
        all.arrived,
        all.twice,
        all.recovered,
        all.dropped,
        all.gaps,
        all.lost,
        all.unknown,
        all.unknown_missing
    );
    let somewhere = all.arrived + all.dropped + all.gaps + all.lost;
    println!(
        "in no ledger {}; all managers together counted {}",
        all.emitted.saturating_sub(somewhere),
        record.counted
    );
    let most: u64 = truth.pages.sum().begun;
    // What a manager that was killed had handled and not acknowledged its successor is sent again.
    let twice = record.counted.saturating_sub(most + all.twice);
    if twice > 0 {
        println!("BROKEN {twice} events counted twice that came once");
    }
    println!("silent difference {}; {} looks", all.silent, record.looks);
    let more = wrong.len().saturating_sub(SHOWN);
    for line in wrong.iter().take(SHOWN) {
        println!("SILENT {line}");
    }
    if more > 0 {
        println!("SILENT and {more} more");
    }
    for line in record.broken.iter().chain(&unread) {
        println!("BROKEN {line}");
    }
    if !missed.is_empty() {
        println!("NEVER HAPPENED {}", missed.join(", "));
    }
    let is_broken = twice > 0 || !record.broken.is_empty() || !unread.is_empty();
    wrong.is_empty() && missed.is_empty() && !is_broken
}

fn row(head: &str, sums: &Sums) {
    print!(
        "{head} {:>6} {:>8} {:>7} {:>8} {:>7}",
        sums.processes, sums.emitted, sums.unknown, sums.unknown_missing, sums.silent
    );
}

/// What arrived anywhere.
fn seen(truth: &Truth<'_>) -> BTreeMap<u32, Seen> {
    let mut all = truth.stolen.all();
    for dir in truth.arrivals {
        for (pid, seen) in Arrivals::read_all(dir) {
            all.entry(pid).or_default().merge(&seen);
        }
    }
    all
}
