//! The manager of the one worker, in a process of its own.

use crate::stream::{Collector, assert_clean, expected, obey};

/// The role: `ADDRESS`. Says `streaming` once it is; the order `received N` waits for that many events
/// and is answered with those that arrived, all of them in order.
pub(super) fn play(arguments: &[String]) {
    let [address] = arguments else { return };
    let collector = Collector::start();
    let id = collector.register(address, "worker");
    println!("streaming");
    obey(|order| {
        collector.received(&id, expected(order));
        let ledger = collector.info(&id).ledger;
        assert_clean(&ledger, ledger.received);
        ledger.received.to_string()
    });
    collector.stop();
}
