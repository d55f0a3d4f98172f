//! The encoder that each thread keeps, taken out while an event is being encoded.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use crate::codec::EventEncoder;

/// An encoder with more memory than this is given back to the allocator after use.
const MAX_KEPT_BYTES: usize = 16 * 1024;

thread_local! {
    /// This thread's encoder while it is not in use. In a box, so that taking it moves one word.
    static KEPT: Cell<Option<Box<EventEncoder>>> = const { Cell::new(None) };
}

/// The right to use this thread's encoder. An emit from inside an emit (a user's `__str__`, say) and
/// one during the end of a thread simply get a fresh one.
#[derive(Debug)]
pub(super) struct Scratch(Option<Box<EventEncoder>>);

impl Scratch {
    /// Takes the encoder; what it encoded last is still in it.
    #[inline]
    pub(super) fn take() -> Self {
        let kept = KEPT.try_with(Cell::take).ok().flatten();
        Self(Some(kept.unwrap_or_else(fresh)))
    }
}

#[cold]
fn fresh() -> Box<EventEncoder> {
    Box::default()
}

impl Deref for Scratch {
    type Target = EventEncoder;

    #[inline]
    fn deref(&self) -> &EventEncoder {
        match &self.0 {
            Some(encoder) => encoder,
            None => unreachable!("it is taken in `drop` only"),
        }
    }
}

impl DerefMut for Scratch {
    #[inline]
    fn deref_mut(&mut self) -> &mut EventEncoder {
        self.0.get_or_insert_with(fresh)
    }
}

impl Drop for Scratch {
    #[inline]
    fn drop(&mut self) {
        if let Some(encoder) = self.0.take()
            && encoder.capacity() <= MAX_KEPT_BYTES
        {
            let _thread_ends = KEPT.try_with(|kept| kept.set(Some(encoder)));
        }
    }
}
