//! What a span carries, without the allocator as long as it is little.
//!
//! Keeps the entries of a span's metadata and lends lists as slices; knows nothing of spans.

use std::borrow::Cow;

use arrayvec::ArrayVec;

/// Entries of a span that are kept in place; further ones are allocated.
const KEPT_IN_PLACE: usize = 4;
/// Entries of one event that are lent from the stack; longer lists are allocated.
const LENT_FROM_STACK: usize = 16;

/// A key and its value; literals are not copied.
type Entry = (Cow<'static, str>, Cow<'static, str>);

/// Metadata in the order it was given.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    /// The first ones.
    first: ArrayVec<Entry, KEPT_IN_PLACE>,
    /// Those for which there was no room; empty until `first` is full.
    further: Vec<Entry>,
}

impl Entries {
    /// None.
    #[inline]
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        if let Err(refused) = self.first.try_push(entry) {
            self.further.push(refused.element());
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.further.len()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.first.iter().chain(&self.further);
        all.map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

/// Lends `items`, of which there are `count`, as a slice.
#[inline]
pub(super) fn with_slice<T>(items: impl Iterator<Item = T>, count: usize, run: impl FnOnce(&[T])) {
    if count <= LENT_FROM_STACK {
        let mut list: ArrayVec<T, LENT_FROM_STACK> = ArrayVec::new();
        // Not `collect`: it asks a chain item by item which part it is in, `for_each` does once.
        items.for_each(|item| {
            let pushed = list.try_push(item);
            debug_assert!(pushed.is_ok(), "there are as many items as was said");
        });
        run(&list);
    } else {
        let list: Vec<T> = items.collect();
        run(&list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_in_order_in_place_and_beyond() {
        for count in 0..=3 * KEPT_IN_PLACE {
            let mut entries = Entries::new();
            for number in 0..count {
                entries.push(("key".into(), number.to_string().into()));
            }
            let values: Vec<_> = entries.iter().map(|(_, value)| value.to_owned()).collect();
            let expected: Vec<_> = (0..count).map(|number| number.to_string()).collect();
            assert_eq!(values, expected);
            assert_eq!(entries.len(), count);
        }
    }

    #[test]
    fn a_list_is_lent_whole_whatever_its_length() {
        for count in [0, 1, LENT_FROM_STACK, LENT_FROM_STACK + 1, 100] {
            let expected: Vec<_> = (0..count).collect();
            with_slice(0..count, count, |lent| assert_eq!(lent, expected));
        }
    }
}
