//! The queue of the emit path beside two others: a bounded queue of boxes, and a ring of bytes for
//! each thread that emits. One thread takes out what one, two or four put in.

use std::hint::black_box;
use std::iter;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use telemetry_core::emit::{Budget, Queue, QueueLimits};

use crate::measure::{Effort, median};
use crate::report::Table;

/// Bytes of a record; as many as an event with two measurements and two metadata entries takes.
const RECORD: usize = 152;
/// Records that a queue holds, over all producers.
const ROOM: usize = 1_024;
/// How many threads put records in.
const PRODUCERS: [usize; 3] = [1, 2, 4];

/// The pushing side of a queue; each thread has one of its own.
trait Push: Send {
    /// Stores a copy, or says that there is no room.
    fn push(&mut self, record: &[u8]) -> bool;
}

/// The taking side.
trait Take: Send {
    /// Appends what there is, up to 64 KiB, and returns how many records that were.
    fn take(&mut self, out: &mut Vec<u8>) -> usize;
}

/// Throughput of each queue, and the longest that a record waited, by number of producers.
pub(super) fn table(effort: Effort) -> Table {
    let (rounds, records) = if effort.quick {
        (3, 40_000)
    } else {
        (15, 400_000)
    };
    let rows = PRODUCERS.map(|producers| {
        let mut all = [const { (Vec::new(), Vec::new()) }; 3];
        for _ in 0..rounds {
            let found = [
                ours(producers, records),
                boxes(producers, records),
                rings(producers, records),
            ];
            for ((rate, pause), (found_rate, found_pause)) in all.iter_mut().zip(found) {
                rate.push(found_rate / 1e6);
                pause.push(found_pause.as_secs_f64() * 1e3);
            }
        }
        let cells = all.iter_mut().map(|(rates, pauses)| {
            let (rate, typical) = (median(rates), median(pauses));
            let worst = pauses.iter().copied().fold(0.0, f64::max);
            format!("{rate:.1} M/s, {typical:.1} ms, {worst:.1} ms")
        });
        iter::once(producers.to_string()).chain(cells).collect()
    });
    let columns = [
        "producers",
        "ours",
        "queue of boxes",
        "ring of bytes per thread",
    ];
    Table {
        title: "Queues: records through, longest wait of a record in a round, and in all rounds"
            .to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.to_vec(),
    }
}

fn ours(producers: usize, records: usize) -> (f64, Duration) {
    let queue = Queue::new(QueueLimits::new(ROOM, 1 << 20));
    run(iter::repeat_n(&queue, producers).collect(), &queue, records)
}

impl Push for &Queue {
    fn push(&mut self, record: &[u8]) -> bool {
        self.try_push(record, 0).is_ok()
    }
}

impl Take for &Queue {
    fn take(&mut self, out: &mut Vec<u8>) -> usize {
        let budget = Budget {
            events: usize::MAX,
            bytes: 64 * 1024,
        };
        self.drain_into(|record| record.append_to(out), budget)
            .events
    }
}

/// A bounded queue of boxes with a bound of bytes beside it, as the first version of ours was.
struct Boxes {
    slots: ArrayQueue<Box<[u8]>>,
    bytes: AtomicUsize,
}

fn boxes(producers: usize, records: usize) -> (f64, Duration) {
    let queue = Boxes {
        slots: ArrayQueue::new(ROOM),
        bytes: AtomicUsize::new(0),
    };
    run(iter::repeat_n(&queue, producers).collect(), &queue, records)
}

impl Push for &Boxes {
    fn push(&mut self, record: &[u8]) -> bool {
        let reserved = self.bytes.fetch_add(record.len(), Ordering::Relaxed);
        let stored = reserved < 1 << 20 && self.slots.push(record.into()).is_ok();
        if !stored {
            self.bytes.fetch_sub(record.len(), Ordering::Relaxed);
        }
        stored
    }
}

impl Take for &Boxes {
    fn take(&mut self, out: &mut Vec<u8>) -> usize {
        let (mut records, mut bytes) = (0, 0);
        while bytes < 64 * 1024
            && let Some(record) = self.slots.pop()
        {
            out.extend_from_slice(&record);
            self.bytes.fetch_sub(record.len(), Ordering::Relaxed);
            (records, bytes) = (records + 1, bytes + record.len());
        }
        records
    }
}

/// The taking side of a ring for each producer.
struct Rings(Vec<rtrb::Consumer<u8>>);

fn rings(producers: usize, records: usize) -> (f64, Duration) {
    let (pushers, takers) = (0..producers)
        .map(|_| rtrb::RingBuffer::new(ROOM * (RECORD + 8) / producers))
        .unzip();
    run::<rtrb::Producer<u8>, _>(pushers, Rings(takers), records)
}

impl Push for rtrb::Producer<u8> {
    fn push(&mut self, record: &[u8]) -> bool {
        let Ok(mut room) = self.write_chunk(record.len()) else {
            return false;
        };
        let (first, second) = room.as_mut_slices();
        let (start, end) = record.split_at(first.len());
        first.copy_from_slice(start);
        second.copy_from_slice(end);
        room.commit_all();
        true
    }
}

impl Take for Rings {
    fn take(&mut self, out: &mut Vec<u8>) -> usize {
        let mut bytes = 0;
        for ring in &mut self.0 {
            let Ok(chunk) = ring.read_chunk(ring.slots().min(430 * RECORD)) else {
                continue;
            };
            let (first, second) = chunk.as_slices();
            out.extend_from_slice(first);
            out.extend_from_slice(second);
            bytes += chunk.len();
            chunk.commit_all();
        }
        bytes / RECORD
    }
}

/// Sends so many records over all producers; records per second and the longest wait of one, from
/// before it was pushed until it was taken out. A producer that finds no room yields.
fn run<P: Push, T: Take>(pushers: Vec<P>, mut taker: T, records: usize) -> (f64, Duration) {
    let each = records / pushers.len();
    let gate = Barrier::new(pushers.len() + 1);
    let epoch = Instant::now();
    let now = || u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
    thread::scope(|scope| {
        let total = each * pushers.len();
        for mut pusher in pushers {
            let gate = &gate;
            scope.spawn(move || {
                let mut record = [7; RECORD];
                gate.wait();
                for _ in 0..each {
                    record[..8].copy_from_slice(&now().to_le_bytes());
                    while !pusher.push(black_box(&record)) {
                        thread::yield_now();
                    }
                }
            });
        }
        gate.wait();
        let (begun, mut taken, mut longest) = (now(), 0, 0);
        let mut out = Vec::new();
        while taken < total {
            out.clear();
            let count = taker.take(&mut out);
            if count == 0 {
                thread::yield_now();
            }
            taken += count;
            // The oldest is the first, or the first of another thread's; all are looked at.
            let ended = now();
            for record in out.chunks_exact(RECORD) {
                if let Some(pushed) = record.first_chunk::<8>() {
                    longest = longest.max(ended.saturating_sub(u64::from_le_bytes(*pushed)));
                }
            }
        }
        let seconds = (now() - begun) as f64 / 1e9;
        (total as f64 / seconds, Duration::from_nanos(longest))
    })
}
