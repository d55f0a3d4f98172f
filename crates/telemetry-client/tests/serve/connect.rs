//! A worker that dials in: managers that welcome, refuse, send elsewhere, come late, say rubbish.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_client::region::RegionKind;
use telemetry_client::serve::{ConnectConfig, ConnectError, Connection};
use telemetry_core::{
    Address, Outcome,
    emit::{Fields, PolicySpec, Recorder},
    wire::{INTRODUCTION_HEAD_BYTES, Introduction, IntroductionAnswer, introduction_body_bytes},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::manager::{Manager, count_of};
use crate::{PATIENCE, private_directory, recorder, stream_config};

/// A worker and the place of its manager.
struct Worker {
    recorder: Arc<Recorder>,
    connection: Connection,
    directory: TempDir,
}

impl Worker {
    fn start() -> Self {
        let directory = private_directory();
        let managers = vec![address(&directory, "manager.sock")];
        Self::of(directory, managers)
    }

    fn of(directory: TempDir, managers: Vec<Address>) -> Self {
        Self::with(directory, managers, ConnectConfig::default())
    }

    fn with(directory: TempDir, managers: Vec<Address>, mut config: ConnectConfig) -> Self {
        let recorder = recorder();
        config.stream = stream_config();
        let connection = Connection::start(managers, Arc::clone(&recorder), config);
        Self {
            recorder,
            connection: connection.expect("a thread"),
            directory,
        }
    }

    fn listen(&self) -> UnixListener {
        UnixListener::bind(self.socket("manager.sock")).expect("a free path")
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn emit(&self) {
        let site = self.recorder.callsite("tool.result_size").expect("a name");
        let fields = Fields {
            measurements: &[("count", 7_i64.into())],
            ..Fields::default()
        };
        let outcome = self.recorder.record(&site, &fields);
        assert_eq!(outcome, Outcome::Accepted);
    }

    /// Closes it on another thread, as a program does whose runtime goes on.
    async fn close(self, timeout: Duration) -> (Arc<Recorder>, bool, Duration) {
        let closing = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            self.recorder.close();
            let in_time = self.connection.close(timeout);
            (self.recorder, in_time, began.elapsed())
        });
        closing.await.expect("no panic")
    }
}

fn address(directory: &TempDir, name: &str) -> Address {
    Address::Unix(directory.path().join(name))
}

/// The next connection and its first words.
async fn introduced(listener: &UnixListener) -> (UnixStream, Introduction) {
    let accepted = timeout(PATIENCE, listener.accept()).await;
    let (mut stream, _) = accepted.expect("it connects").expect("a connection");
    let mut head = [0; INTRODUCTION_HEAD_BYTES];
    stream.read_exact(&mut head).await.expect("a head");
    let bytes = introduction_body_bytes(&head).expect("a frame");
    let mut body = vec![0; bytes.expect("whole")];
    stream.read_exact(&mut body).await.expect("a body");
    (stream, Introduction::from_body(&body).expect("words"))
}

async fn answer(stream: &mut UnixStream, answer: &IntroductionAnswer) {
    let frame = answer.to_frame();
    stream.write_all(&frame).await.expect("an open connection");
}

/// Welcomes the next worker.
async fn welcome(listener: &UnixListener) -> Manager {
    let (mut stream, _) = introduced(listener).await;
    answer(&mut stream, &IntroductionAnswer::Welcome).await;
    Manager::over(stream).await
}

#[tokio::test]
async fn it_says_who_it_is_and_serves_on_the_connection_it_opened() {
    let worker = Worker::start();
    let listener = worker.listen();
    worker.emit();
    let (mut stream, introduction) = introduced(&listener).await;
    assert_eq!(introduction.worker, worker.connection.worker_id());
    assert_eq!(introduction.pid, std::process::id());
    assert_eq!(introduction.incarnation.len(), 32);
    answer(&mut stream, &IntroductionAnswer::Welcome).await;
    let manager = Manager::over(stream).await;
    let mut stream = manager.stream().await;
    stream.hello();
    stream.policy(PolicySpec::default());
    let hello = stream.next().await.expect("its hello").hello;
    assert_eq!(hello.expect("a hello").region, 1, "events are on the heap");
    assert_eq!(stream.next_count().await, 7);
    assert_eq!(worker.connection.clients(), 1);
    assert_eq!(worker.connection.last_error(), None);
    assert_eq!(worker.connection.region(), RegionKind::Heap);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn it_is_the_incarnation_that_its_region_belongs_to_and_says_that_there_is_one() {
    use telemetry_client::region;
    use telemetry_core::{SystemClock, emit::RecorderConfig, wire::capability};

    const INCARNATION: &str = "000102030405060708090a0b0c0d0e0f";
    let clock = Arc::new(SystemClock::new());
    let made = region::recorder(RecorderConfig::default(), clock, INCARNATION);
    let (recorder, region) = made.expect("the default policy");
    region.as_ref().expect("a place").move_in();
    let directory = private_directory();
    let listener = UnixListener::bind(directory.path().join("m.sock")).expect("a free path");
    let mut config = ConnectConfig::default();
    let mut stream = stream_config();
    stream.region = region;
    config.stream = stream;
    let managers = vec![address(&directory, "m.sock")];
    let connection = Connection::start(managers, Arc::new(recorder), config).expect("a thread");
    assert_eq!(connection.region(), RegionKind::Shared);
    for _ in 0..2 {
        // One that takes no descriptors loses it and nothing else.
        let (mut stream, introduction) = introduced(&listener).await;
        assert_eq!(introduction.incarnation, INCARNATION);
        let said = |words: &[String]| words.iter().any(|word| word == capability::REGION);
        assert!(said(&introduction.capabilities));
        answer(&mut stream, &IntroductionAnswer::Welcome).await;
        let manager = Manager::over(stream).await;
        let mut stream = manager.stream().await;
        stream.hello();
        stream.policy(PolicySpec::default());
        let hello = stream.next().await.expect("its hello").hello;
        let hello = hello.expect("a hello");
        assert_eq!(
            (hello.region, hello.incarnation_id.as_str()),
            (2, INCARNATION)
        );
        assert!(said(&hello.capabilities));
    }
    assert_eq!(connection.closed_descriptors(), 0);
}

#[tokio::test]
async fn a_manager_that_comes_late_is_found_and_gets_what_waited() {
    let worker = Worker::start();
    worker.emit();
    let absent = timeout(PATIENCE, async {
        while worker.connection.last_error().is_none() {
            tokio::task::yield_now().await;
        }
    });
    absent.await.expect("it looked");
    let manager = welcome(&worker.listen()).await;
    let mut stream = manager.stream().await;
    stream.policy(PolicySpec::default());
    assert_eq!(stream.next_count().await, 7);
}

#[tokio::test]
async fn events_of_the_last_moment_arrive_although_no_stream_was_open() {
    let worker = Worker::start();
    let listener = worker.listen();
    for _ in 0..20 {
        worker.emit();
    }
    let serving = tokio::spawn(async move {
        let manager = welcome(&listener).await;
        let mut stream = manager.stream().await;
        stream.hello();
        stream.policy(PolicySpec::default());
        let mut events = 0;
        let mut is_final = false;
        while let Some(message) = stream.next().await {
            events += usize::from(count_of(&message).is_some());
            is_final |= message.report.is_some_and(|report| report.r#final);
        }
        (events, is_final)
    });
    let (recorder, in_time, _) = worker.close(PATIENCE).await;
    assert!(in_time);
    assert_eq!(serving.await.expect("no panic"), (20, true));
    assert_eq!(recorder.snapshot().sent, 20);
}

#[tokio::test]
async fn who_has_introduced_itself_says_its_last_word_also_without_events() {
    let worker = Worker::start();
    let listener = worker.listen();
    let (mut stream, _) = introduced(&listener).await;
    let recorder = Arc::clone(&worker.recorder);
    let closing = tokio::spawn(worker.close(PATIENCE));
    while !recorder.is_closed() {
        tokio::task::yield_now().await;
    }
    let mut byte = [0];
    let left = timeout(Duration::from_millis(50), stream.read(&mut byte)).await;
    assert!(left.is_err(), "it left without a word: {left:?}");
    answer(&mut stream, &IntroductionAnswer::Welcome).await;
    let manager = Manager::over(stream).await;
    let mut stream = manager.stream().await;
    stream.hello();
    stream.policy(PolicySpec::default());
    let mut is_final = false;
    while let Some(message) = stream.next().await {
        is_final |= message.report.is_some_and(|report| report.r#final);
    }
    assert!(is_final);
    let (_, in_time, _) = closing.await.expect("no panic");
    assert!(in_time);
}

#[tokio::test]
async fn where_nobody_is_the_end_is_at_once() {
    let worker = Worker::start();
    worker.emit();
    let (recorder, _, took) = worker.close(PATIENCE).await;
    assert!(took < PATIENCE / 10, "it took {took:?}");
    assert_eq!(recorder.queued(), 1, "for whoever closes to count");
}

#[tokio::test]
async fn a_manager_that_says_nothing_is_given_up_at_the_deadline() {
    let worker = Worker::start();
    let listener = worker.listen();
    worker.emit();
    let (_held, _) = introduced(&listener).await;
    let (recorder, _, took) = worker.close(Duration::from_millis(200)).await;
    assert!(took < PATIENCE / 10, "it took {took:?}");
    assert_eq!(recorder.queued(), 1);
}

#[tokio::test]
async fn it_goes_where_it_is_sent() {
    let worker = Worker::start();
    let (first, second) = (worker.listen(), worker.socket("second.sock"));
    let second_listener = UnixListener::bind(&second).expect("a free path");
    let (mut stream, _) = introduced(&first).await;
    let address = Address::Unix(second).to_string();
    answer(&mut stream, &IntroductionAnswer::Moved { address }).await;
    let manager = welcome(&second_listener).await;
    drop(manager.stream().await);
}

#[tokio::test]
async fn a_refusal_is_remembered_and_the_next_manager_of_the_list_is_tried() {
    let directory = private_directory();
    let managers = vec![address(&directory, "a.sock"), address(&directory, "b.sock")];
    let listen = |name| UnixListener::bind(directory.path().join(name)).expect("a free path");
    let (first, second) = (listen("a.sock"), listen("b.sock"));
    let worker = Worker::of(directory, managers);
    let (mut stream, _) = introduced(&first).await;
    let reason = "taken away".to_owned();
    answer(&mut stream, &IntroductionAnswer::Refused { reason }).await;
    let refused = timeout(PATIENCE, async {
        loop {
            match worker.connection.last_error() {
                Some(error) => return error,
                None => tokio::task::yield_now().await,
            }
        }
    });
    assert!(refused.await.expect("it heard").contains("taken away"));
    let manager = welcome(&second).await;
    drop(manager.stream().await);
}

/// Has somebody else's process listen, as far as the system knows.
fn hand_over(listener: &UnixListener, uid: u32) {
    use rustix::{net::listen, process::Uid, thread::set_thread_res_uid};
    std::thread::scope(|scope| {
        let handing = scope.spawn(|| {
            // Of this thread alone, which ends with it.
            set_thread_res_uid(None, Uid::from_raw(uid), None).expect("root may");
            listen(listener, 16).expect("it listens already");
        });
        handing.join().expect("no panic");
    });
}

#[tokio::test]
async fn a_manager_of_another_user_hears_nothing_unless_that_user_was_named() {
    const OTHER: u32 = 65_531;
    if !rustix::process::geteuid().is_root() {
        let mut stderr = std::io::stderr();
        let said = writeln!(stderr, "skipped: only root can listen as somebody else");
        return said.expect("stderr");
    }
    let start = |manager_uid| {
        let directory = private_directory();
        let managers = vec![address(&directory, "manager.sock")];
        let path = directory.path().join("manager.sock");
        let listener = UnixListener::bind(path).expect("a free path");
        hand_over(&listener, OTHER);
        let mut config = ConnectConfig::default();
        config.manager_uid = manager_uid;
        (listener, Worker::with(directory, managers, config))
    };
    for manager_uid in [None, Some(OTHER + 1)] {
        let (listener, worker) = start(manager_uid);
        let refused = timeout(PATIENCE, async {
            loop {
                match worker.connection.last_error() {
                    Some(error) => return error,
                    None => tokio::task::yield_now().await,
                }
            }
        });
        let refused = refused.await.expect("it looked");
        assert!(refused.contains("runs as uid 65531"), "{refused}");
        assert!(refused.contains("TELEMETRY_MANAGER_UID=65531"), "{refused}");
        let (mut stream, _) = listener.accept().await.expect("it came");
        let mut said = Vec::new();
        // It may have left with a reset.
        let _end = stream.read_to_end(&mut said).await;
        assert_eq!(said, b"", "it told who it is");
    }
    let (listener, worker) = start(Some(OTHER));
    worker.emit();
    let manager = welcome(&listener).await;
    let mut stream = manager.stream().await;
    stream.policy(PolicySpec::default());
    assert_eq!(stream.next_count().await, 7);
}

#[tokio::test]
async fn rubbish_for_an_answer_ends_the_connection_and_not_the_worker() {
    let worker = Worker::start();
    let listener = worker.listen();
    let (mut stream, _) = introduced(&listener).await;
    stream
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .expect("open");
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    match ended.expect("it hangs up") {
        Ok(_) => assert!(rest.is_empty()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    let manager = welcome(&listener).await;
    drop(manager.stream().await);
}

#[tokio::test]
async fn a_cut_is_survived_and_what_was_not_sent_goes_to_the_next_connection() {
    let worker = Worker::start();
    let listener = worker.listen();
    drop(welcome(&listener).await);
    worker.emit();
    let manager = welcome(&listener).await;
    let mut stream = manager.stream().await;
    stream.policy(PolicySpec::default());
    assert_eq!(stream.next_count().await, 7);
}

#[test]
fn what_can_never_be_connected_to_is_refused_at_once() {
    let start = |managers| Connection::start(managers, recorder(), ConnectConfig::default());
    assert!(matches!(start(Vec::new()), Err(ConnectError::NoManager)));
    let port = vec!["127.0.0.1:7443".parse().expect("an address")];
    assert!(matches!(start(port), Err(ConnectError::NoTls { .. })));
    let long = vec![Address::Unix(format!("/{}", "x".repeat(200)).into())];
    assert!(matches!(start(long), Err(ConnectError::Address { .. })));
}

#[tokio::test]
async fn a_manager_that_welcomes_and_says_no_more_is_given_up_at_the_deadline() {
    let worker = Worker::start();
    let listener = worker.listen();
    worker.emit();
    let (mut held, _) = introduced(&listener).await;
    answer(&mut held, &IntroductionAnswer::Welcome).await;
    let (recorder, in_time, took) = worker.close(Duration::from_millis(500)).await;
    assert!(took < PATIENCE / 10, "it took {took:?}");
    assert!(!in_time || recorder.queued() == 1);
}
