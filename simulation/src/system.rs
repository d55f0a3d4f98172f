//! What a process learns by chance and by the clock, so that it is the same each time.
//!
//! Hash maps, identities, jitter and the scheduler's choices all begin with `getrandom`, and `Instant` and
//! `SystemTime` with `clock_gettime`, both of the C library. They are defined here once more, for this program
//! only, and so nothing in the code under test has to be told of it. What the program itself asks `rustix` for is
//! the system's.
//!
//! The scheduler mixes the number of its runtime in the process into its choices, so a seed has a process of its own.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime as real_time};
use tokio::time::Instant;

use crate::chance::Chance;

/// Whether time and chance are the simulation's.
static IS_SIMULATED: AtomicBool = AtomicBool::new(false);
/// Where chance stands.
static CHANCE: AtomicU64 = AtomicU64::new(0);
/// When the scheduler's clock began.
static START: OnceLock<Instant> = OnceLock::new();
/// Virtual time, nanoseconds.
static NOW: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds by which each look at a clock finds it later.
static LOOKS: AtomicU64 = AtomicU64::new(0);

/// When the virtual wall clock begins, seconds since the Unix epoch.
pub(crate) const EPOCH_SECONDS: u64 = 1_800_000_000;
/// When the virtual monotonic clock begins. Low, so that a wait for it in the kernel is over at once.
const START_SECONDS: u64 = 100;
/// The system's number of the wall clock, and of its coarse sister.
const WALL_CLOCKS: [c_int; 2] = [0, 5];

/// From here on time and chance are virtual, and this seed decides. There is no way back.
pub fn begin(seed: u64) {
    CHANCE.store(Chance::new(seed, 1).next(), Ordering::Relaxed);
    IS_SIMULATED.store(true, Ordering::Relaxed);
}

/// Looks at the scheduler's clock, which begins with the first look; the others follow it.
pub(crate) fn look() {
    let elapsed = START.get_or_init(Instant::now).elapsed();
    let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    NOW.store(nanos, Ordering::Relaxed);
}

/// How long after the beginning it is.
#[must_use]
pub(crate) fn now() -> Duration {
    Duration::from_nanos(NOW.load(Ordering::Relaxed))
}

/// A time as C knows it.
#[repr(C)]
#[derive(Debug)]
struct TimeSpec {
    seconds: i64,
    nanos: i64,
}

/// Replaces the C library's.
///
/// # Safety
///
/// `time` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut TimeSpec) -> c_int {
    let told = if IS_SIMULATED.load(Ordering::Relaxed) {
        let nanos = NOW.load(Ordering::Relaxed) + LOOKS.fetch_add(1, Ordering::Relaxed);
        let begin = match WALL_CLOCKS.contains(&clock) {
            true => EPOCH_SECONDS,
            false => START_SECONDS,
        };
        TimeSpec {
            seconds: (begin + nanos / 1_000_000_000).cast_signed(),
            nanos: (nanos % 1_000_000_000).cast_signed(),
        }
    } else {
        let clock = match WALL_CLOCKS.contains(&clock) {
            true => ClockId::Realtime,
            false => ClockId::Monotonic,
        };
        let real = real_time(clock);
        TimeSpec {
            seconds: real.tv_sec,
            nanos: real.tv_nsec,
        }
    };
    // SAFETY: whoever calls it gives a place for the answer, as the C library demands.
    unsafe { time.write(told) };
    0
}

/// Replaces the C library's. Without a seed it is always the same, which is enough for a program that only
/// starts others.
///
/// # Safety
///
/// `buffer` is valid for `length` writes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _: c_uint) -> isize {
    let drawn = CHANCE.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    let mut chance = Chance::new(drawn, 2);
    for at in 0..length {
        let [byte, ..] = chance.next().to_le_bytes();
        // SAFETY: it is within the buffer that the caller gives, as the C library demands.
        unsafe { buffer.cast::<u8>().add(at).write(byte) };
    }
    length.cast_signed()
}

/// Replaces the C library's: the number of a process is in what it says, and must not be another one each time.
#[unsafe(no_mangle)]
extern "C" fn getpid() -> c_int {
    const PID: c_int = 4_242;
    PID
}
