//! The bounded queue of encoded records between emitting threads and the one that sends.
//!
//! It holds bytes and has never heard of events. It has two bounds, records and bytes, and pushing
//! never waits: what does not fit is refused and the caller counts it. It must not be touched in a
//! forked child, where a thread that held a slot no longer exists.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_queue::ArrayQueue;

/// Records that a queue holds unless configured otherwise.
pub const DEFAULT_QUEUE_EVENTS: usize = 1_024;
/// Bytes that a queue holds unless configured otherwise.
pub const DEFAULT_QUEUE_BYTES: usize = 1024 * 1024;

/// The two bounds of a [`Queue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Most records at once; at least 1.
    pub events: usize,
    /// Most bytes at once over all records.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            events: DEFAULT_QUEUE_EVENTS,
            bytes: DEFAULT_QUEUE_BYTES,
        }
    }
}

/// How much one [`Queue::drain_into`] may take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Most records.
    pub events: usize,
    /// Stop after the record that reaches this many bytes.
    pub bytes: usize,
}

/// What a drain took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records.
    pub events: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// The queue had no room; nothing was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub struct Full;

/// A bounded multi-producer queue of byte records in order of arrival.
#[derive(Debug)]
pub struct Queue {
    /// The records.
    slots: ArrayQueue<Box<[u8]>>,
    /// Bytes reserved by records that are in the queue or about to be.
    bytes: AtomicUsize,
    /// Bound of `bytes`.
    max_bytes: usize,
}

impl Queue {
    /// An empty queue. A bound of zero records counts as one.
    #[must_use]
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            slots: ArrayQueue::new(limits.events.max(1)),
            bytes: AtomicUsize::new(0),
            max_bytes: limits.bytes,
        }
    }

    /// Stores a copy of `record`, or refuses at once.
    ///
    /// # Errors
    ///
    /// [`Full`] if either bound would be passed.
    pub fn try_push(&self, record: &[u8]) -> Result<(), Full> {
        if self.slots.is_full() {
            return Err(Full);
        }
        // Reserve the bytes first, so that the bound holds however many threads push at once, and
        // only if they fit, so that a record that does not makes no other one fail.
        self.bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| {
                bytes
                    .checked_add(record.len())
                    .filter(|sum| *sum <= self.max_bytes)
            })
            .map_err(|_bytes| Full)?;
        self.slots.push(record.into()).map_err(|refused| {
            self.bytes.fetch_sub(refused.len(), Ordering::Relaxed);
            Full
        })
    }

    /// Whether a record of this many bytes fits when the queue is empty.
    #[must_use]
    pub fn can_hold(&self, bytes: usize) -> bool {
        bytes <= self.max_bytes
    }

    /// Takes the oldest record out.
    pub fn pop_oldest(&self) -> Option<Box<[u8]>> {
        let record = self.slots.pop()?;
        self.bytes.fetch_sub(record.len(), Ordering::Relaxed);
        Some(record)
    }

    /// Hands records to `sink`, oldest first, until the queue is empty or the budget spent.
    pub fn drain_into(&self, mut sink: impl FnMut(&[u8]), budget: Budget) -> Drained {
        let mut drained = Drained::default();
        while drained.events < budget.events && drained.bytes < budget.bytes {
            let Some(record) = self.pop_oldest() else {
                break;
            };
            drained.events += 1;
            drained.bytes += record.len();
            sink(&record);
        }
        drained
    }

    /// Records in the queue now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no record is in the queue now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes in the queue now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(events: usize, bytes: usize) -> Queue {
        Queue::new(QueueLimits { events, bytes })
    }

    #[test]
    fn full_queue_refuses_by_count_and_by_bytes() {
        let by_count = queue(2, 1_000);
        assert_eq!(by_count.try_push(b"a"), Ok(()));
        assert_eq!(by_count.try_push(b"b"), Ok(()));
        assert_eq!(by_count.try_push(b"c"), Err(Full));
        assert_eq!((by_count.len(), by_count.bytes()), (2, 2));

        let by_bytes = queue(100, 5);
        assert_eq!(by_bytes.try_push(b"abc"), Ok(()));
        assert_eq!(by_bytes.try_push(b"def"), Err(Full));
        assert_eq!(by_bytes.try_push(b"gh"), Ok(()));
        assert_eq!(by_bytes.bytes(), 5);
    }

    #[test]
    fn drain_keeps_order_and_budget() {
        let queue = queue(10, 1_000);
        for record in [b"aa", b"bb", b"cc", b"dd"] {
            queue.try_push(record).expect("room");
        }
        let mut seen = Vec::new();
        let drained = queue.drain_into(
            |r| seen.extend_from_slice(r),
            Budget {
                events: 10,
                bytes: 3,
            },
        );
        assert_eq!(
            drained,
            Drained {
                events: 2,
                bytes: 4
            }
        );
        assert_eq!(seen, b"aabb");
        queue.drain_into(
            |r| seen.extend_from_slice(r),
            Budget {
                events: 1,
                bytes: 100,
            },
        );
        assert_eq!(seen, b"aabbcc");
        assert_eq!((queue.len(), queue.bytes()), (1, 2));
    }

    #[test]
    fn a_record_that_does_not_fit_makes_no_other_one_fail() {
        let queue = queue(4, 100);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    assert_eq!(queue.try_push(&[0; 101]), Err(Full));
                }
            });
            let refused = (0..100_000)
                .filter(|_| queue.try_push(b"x").is_err() || queue.pop_oldest().is_none())
                .count();
            done.store(true, Ordering::Release);
            assert_eq!(refused, 0);
        });
    }

    #[test]
    fn concurrent_pushes_are_stored_or_refused_never_both() {
        let queue = queue(64, 4_096);
        let (mut stored, mut drained) = (0_usize, 0_usize);
        std::thread::scope(|scope| {
            let pushers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..5_000)
                            .filter(|_| queue.try_push(b"record").is_ok())
                            .count()
                    })
                })
                .collect();
            while pushers.iter().any(|p| !p.is_finished()) {
                drained += queue
                    .drain_into(
                        |_| (),
                        Budget {
                            events: 16,
                            bytes: 4_096,
                        },
                    )
                    .events;
                std::thread::yield_now();
            }
            stored = pushers
                .into_iter()
                .map(|p| p.join().expect("no panic"))
                .sum();
        });
        drained += queue
            .drain_into(
                |_| (),
                Budget {
                    events: 1_000,
                    bytes: 1 << 20,
                },
            )
            .events;
        assert_eq!(stored, drained);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }
}
