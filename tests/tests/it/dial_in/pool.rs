//! Workers of a pool that dial in, and the processes that they start.

use telemetry_server::{
    pool::{Pool, PoolConfig},
    stream::{LinkKind, StreamInfo, StreamState},
};
use telemetry_tests::{PATIENCE, eventually, within};

use super::house::{CALLER, House};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_worker_that_dials_in_has_its_name_and_its_children_have_names_of_their_own() {
    let house = House::open();
    let script = format!(
        "{CALLER} ${{TELEMETRY_MANAGER#unix:}} $TELEMETRY_WORKER_ID \"\" stay & \
         exec {CALLER} ${{TELEMETRY_MANAGER#unix:}} $TELEMETRY_WORKER_ID other stay"
    );
    let dir = house.socket.parent().expect("a directory").join("run");
    let mut config = PoolConfig::new("web", ["sh", "-c", &script], dir);
    config.manager = Some(house.acceptor.address().clone());
    let pool = Pool::start(&house.manager, config).await.expect("a shell");
    within("the pool", pool.ready()).await;
    let called = |info: &StreamInfo| info.link == LinkKind::In;
    let own = house
        .manager
        .until("the worker itself", &"web-1".into(), called)
        .await;
    assert_eq!(own.parent, None);
    assert_eq!(own.pid, pool.status().workers[0].pid);
    let child = eventually("the child", || {
        let streams = house.manager.list_streams();
        let mut children = streams.into_iter();
        children.find(|info| info.parent.is_some() && info.state == StreamState::Streaming)
    })
    .await;
    let pid = child.pid.expect("a process");
    assert_eq!(child.worker_id.as_str(), format!("web-1.{pid}"));
    assert_eq!(child.parent, Some("web-1".into()));
    assert_eq!(child.pool_name.as_deref(), Some("web"));
    assert_eq!(house.ids().len(), 2);
    pool.recycle("web-1").await.expect("it runs");
    let succeeded = |info: &StreamInfo| info.link == LinkKind::In && info.pid != own.pid;
    house
        .manager
        .until("the successor", &"web-1".into(), succeeded)
        .await;
    pool.shutdown(PATIENCE).await;
    eventually("all to leave", || house.ids().is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_worker_that_only_starts_others_is_ready_when_one_of_them_is_there() {
    let house = House::open();
    let call = format!("{CALLER} ${{TELEMETRY_MANAGER#unix:}} $TELEMETRY_WORKER_ID \"\" stay");
    let script = format!("{call} & {call} & {call} & wait");
    let dir = house.socket.parent().expect("a directory").join("run");
    let mut config = PoolConfig::new("web", ["sh", "-c", &script], dir);
    config.manager = Some(house.acceptor.address().clone());
    let pool = Pool::start(&house.manager, config).await.expect("a shell");
    within("the pool", pool.ready()).await;
    let children = || {
        let streams = house.manager.list_streams().into_iter();
        let children = streams.filter(|info| info.parent == Some("web-1".into()));
        children
            .filter(|info| info.state == StreamState::Streaming)
            .count()
    };
    eventually("three children", || (children() == 3).then_some(())).await;
    assert_eq!(pool.status().workers[0].restarts, 0);
    pool.shutdown(PATIENCE).await;
    eventually("all to leave", || house.ids().is_empty().then_some(())).await;
}
