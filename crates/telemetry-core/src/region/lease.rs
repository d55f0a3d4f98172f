//! How somebody who lent the words of a region learns that they are free again.

use std::any::Any;
use std::fmt;

/// Held as long as the words of a region are used; whoever lent them sees it dropped.
#[derive(Default)]
pub(crate) struct Lease(
    #[expect(dead_code, reason = "it is there to be dropped")] Option<Box<dyn Any + Send + Sync>>,
);

impl Lease {
    /// Drops this one at the end.
    pub(super) fn of(lease: impl Send + Sync + 'static) -> Self {
        Self(Some(Box::new(lease)))
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use crate::recorder::{Recorder, RecorderConfig};
    use crate::region::Region;
    use crate::time::SystemClock;

    #[test]
    fn a_lease_ends_with_the_recorder() {
        let lent = Arc::new(());
        let config = RecorderConfig::default();
        let region = Region::heap(config.layout()).leased(Arc::clone(&lent));
        let recorder = Recorder::in_region(config, Arc::new(SystemClock::new()), region)
            .expect("the default policy");
        assert_eq!(Arc::strong_count(&lent), 2);
        drop(recorder);
        assert_eq!(Arc::strong_count(&lent), 1);
    }

    #[test]
    fn a_lease_ends_with_a_region_that_nobody_took() {
        let lent = Arc::new(());
        drop(Region::heap(RecorderConfig::default().layout()).leased(Arc::clone(&lent)));
        assert_eq!(Arc::strong_count(&lent), 1);
    }
}
