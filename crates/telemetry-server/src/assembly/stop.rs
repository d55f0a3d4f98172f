//! The end of everything, in order: those who send before those who take in.

use std::time::Duration;

use telemetry_core::catalog::escape;
use tokio::sync::watch;

use super::Assembly;
use crate::manager::{Manager, PoolInfo};

/// How long streams and viewers may take to end once the workers have.
const STREAMS_END: Duration = Duration::from_secs(5);
/// How long they may take when the end is hastened.
const HASTENED_END: Duration = Duration::from_millis(500);
/// How long handlers may take to work off what is queued for them.
const HANDLERS_END: Duration = Duration::from_secs(2);

/// Ends everything in order. Once `hastened` is set, or when it is from the start, workers are killed
/// and nothing waits longer than it must.
pub(super) async fn stop(assembly: Assembly, mut hastened: watch::Receiver<bool>) {
    let Assembly {
        manager,
        dispatcher,
        acceptors,
        http,
        watch,
        discoveries,
        pools,
        strangers,
    } = assembly;
    let mut ending = tokio::task::JoinSet::new();
    if let Some(strangers) = strangers {
        ending.spawn(async move {
            // It can only fail by a defect that the log shows.
            let _ended = strangers.await.is_ok();
        });
    }
    for pool in pools {
        ending.spawn(async move { pool.shutdown(pool.grace()).await });
    }
    let in_order = async {
        while ending.join_next().await.is_some() {}
        for acceptor in acceptors {
            acceptor.stop().await;
        }
        if let Some(watch) = watch {
            watch.stop().await;
        }
        for discovery in discoveries {
            discovery.stop().await;
        }
        manager.shutdown(STREAMS_END).await;
    };
    tokio::select! {
        biased;
        () = asked(&mut hastened) => {
            // A pool that is dropped kills its workers.
            ending.shutdown().await;
            manager.shutdown(HASTENED_END).await;
        }
        () = in_order => {}
    }
    tell_ledger(&manager);
    if let Some(http) = http {
        let patience = if *hastened.borrow() {
            HASTENED_END
        } else {
            STREAMS_END
        };
        http.shutdown(patience).await;
    }
    let handlers = tokio::task::spawn_blocking(move || dispatcher.shutdown(HANDLERS_END));
    if handlers.await.is_err() {
        tracing::error!("the handlers did not end");
    }
}

/// Returns once it is set.
async fn asked(hastened: &mut watch::Receiver<bool>) {
    // An error is a sender that is gone, and with it whoever could have asked.
    if hastened.wait_for(|hastened| *hastened).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Says what became of every event, pool by pool, when nothing can be added any more.
fn tell_ledger(manager: &Manager) {
    for PoolInfo {
        pool_name, totals, ..
    } in manager.pools()
    {
        let (ledger, reported) = (&totals.ledger, &totals.reported);
        tracing::info!(
            target: "telemetry::ledger",
            pool = pool_name.as_deref().map(escape).as_deref(),
            emitted = reported.emitted,
            received = ledger.received,
            dispatched = ledger.dispatched,
            rejected = ledger.rejected.total(),
            dropped = reported.dropped.total(),
            gaps = ledger.gaps,
            lost_at_crash = totals.lost_at_crash,
            away = totals.away,
            unaccounted_incarnations = totals.unaccounted_incarnations,
            "final ledger"
        );
    }
}
