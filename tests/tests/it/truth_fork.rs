//! Forked children of a served parent, with `TELEMETRY_ON_FORK=restart`: each is a process with an
//! account of its own, and takes nothing from its parent's.

use telemetry_tests::truth::{Expected, Kind, Story, gone, order, order_only};
use telemetry_tests::{POOL, eventually, python_or_skip};

const CHILDREN: usize = 4;
/// Events of a child before its end.
const EVENTS: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn forked_children_are_accounted_for_and_leave_their_parent_alone() {
    let Some(python) = python_or_skip() else {
        return;
    };
    let story = Story::begin();
    let socket = story.dir().join("w.sock");
    let mut parent = story.program(Kind::Python(python)).start(&socket);
    story.register(&socket, "parent", POOL, parent.pid).await;
    let mut expected = Vec::new();
    for number in 0..CHILDREN {
        let answer = parent.order("fork").await;
        let child = u32::try_from(answer["child"].as_u64().unwrap()).unwrap();
        let address = socket.with_extension(format!("{child}.sock"));
        let id = format!("child-{number}");
        story.register(&address, &id, POOL, child).await;
        eventually("events of a child", || {
            (story.arrivals.of(child).distinct() >= EVENTS).then_some(())
        })
        .await;
        if number % 2 == 0 {
            order(&story.pages, child, "finish").await;
        } else {
            order_only(&story.pages, child, "burst 300 exit");
            expected.push((child, Expected::ExactOrUnknown));
        }
        gone(child).await;
    }
    parent.finish().await;
    let verdicts = story.judge(&expected).await;
    assert_eq!(verdicts.len(), CHILDREN + 1, "one page for each process");
}
