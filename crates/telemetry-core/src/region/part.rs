//! One part of a region, owned or lent.

use std::ops::Deref;
use std::sync::atomic;

use super::layout::{CONTROL_WORDS, COUNTER_WORDS};
use crate::sync;

/// Words of the heap, or such as somebody lends for ever. Both are one pointer to look at, so that
/// reading through it costs no branch.
#[derive(Debug)]
pub(crate) enum Part<T: ?Sized + 'static> {
    /// Of the heap.
    Owned(Box<T>),
    /// Of somebody else.
    #[cfg_attr(
        loom,
        expect(dead_code, reason = "the model checker's words are never lent")
    )]
    Lent(&'static T),
}

impl<T: ?Sized> Deref for Part<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        match self {
            Self::Owned(words) => words,
            Self::Lent(words) => words,
        }
    }
}

impl Part<[sync::AtomicU64; CONTROL_WORDS]> {
    /// A control part on the heap.
    pub(crate) fn control() -> Self {
        Self::Owned(Box::new(std::array::from_fn(|_| sync::AtomicU64::new(0))))
    }
}

impl Part<[atomic::AtomicU64; COUNTER_WORDS]> {
    /// Counters on the heap.
    pub(crate) fn counters() -> Self {
        Self::Owned(Box::new(
            [const { atomic::AtomicU64::new(0) }; COUNTER_WORDS],
        ))
    }
}

impl Part<[atomic::AtomicU64]> {
    /// So many words on the heap. The system gives their memory page by page when it is first written.
    pub(crate) fn zeroed(words: usize) -> Self {
        Self::Owned(bytemuck::zeroed_slice_box(words))
    }
}
