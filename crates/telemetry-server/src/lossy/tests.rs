//! Facts about the lossy writer: what it drops, what it counts, and that it never waits.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::*;

/// Longest wait for another thread.
const PATIENCE: Duration = Duration::from_secs(10);

/// A target that says when it is written to, and then stands still until it is told what to answer.
struct Slow {
    entered: Sender<()>,
    answers: Receiver<io::Result<()>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _test_is_over = self.entered.send(());
        // Without a test that answers, all goes well.
        self.answers.recv().unwrap_or(Ok(()))?;
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Stage {
    writer: LossyWriter,
    entered: Receiver<()>,
    answers: Sender<io::Result<()>>,
    written: Arc<Mutex<Vec<u8>>>,
}

fn stage(bound: usize) -> Stage {
    let (enter, entered) = channel();
    let (answers, answered) = channel();
    let written = Arc::<Mutex<Vec<u8>>>::default();
    let target = Slow {
        entered: enter,
        answers: answered,
        written: Arc::clone(&written),
    };
    let writer = LossyWriter::start(target, bound).unwrap();
    Stage {
        writer,
        entered,
        answers,
        written,
    }
}

#[test]
fn what_does_not_fit_is_dropped_and_counted_by_lines() {
    let stage = stage(8);
    stage.writer.push(b"first\n");
    stage.entered.recv_timeout(PATIENCE).unwrap();
    // The target stands still from here on: 8 bytes fit, and not one more.
    stage.writer.push(b"second \n");
    stage.writer.push(b"a\nb\nc");
    assert_eq!(stage.writer.dropped(), 3);
    let began = Instant::now();
    assert!(!stage.writer.finish(Duration::from_millis(50)));
    assert!(began.elapsed() < PATIENCE, "it waited for the target");
    drop(stage.answers);
    assert!(stage.writer.finish(PATIENCE));
    assert_eq!(*stage.written.lock().unwrap(), b"first\nsecond \n");
    stage.writer.push(b"late\n");
    assert_eq!(stage.writer.dropped(), 4);
}

#[test]
fn what_cannot_be_written_is_counted_and_what_follows_is_written() {
    let stage = stage(1_024);
    stage.writer.push(b"one\ntwo\n");
    stage.entered.recv_timeout(PATIENCE).unwrap();
    let full = io::Error::from(io::ErrorKind::StorageFull);
    stage.answers.send(Err(full)).unwrap();
    stage.writer.push(b"three\n");
    // It has come back from the first write.
    stage.entered.recv_timeout(PATIENCE).unwrap();
    assert_eq!(stage.writer.dropped(), 2);
    drop(stage.answers);
    assert!(stage.writer.finish(PATIENCE));
    assert_eq!(*stage.written.lock().unwrap(), b"three\n");
}

#[test]
fn a_line_that_was_cut_does_not_run_into_the_next_one() {
    /// Takes two bytes, fails once, and takes the rest.
    struct Cut(usize, Vec<u8>);
    impl Write for Cut {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            let taken = match self.0 {
                1 => 2,
                2 => return Err(io::ErrorKind::StorageFull.into()),
                _ => bytes.len(),
            };
            self.1.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (mut target, mut torn) = (Cut(0, Vec::new()), false);
    assert_eq!(write_all(&mut target, b"abc\ndef\n", &mut torn), 2);
    assert!(torn);
    assert_eq!(write_all(&mut target, b"next\n", &mut torn), 0);
    assert!(!torn);
    assert_eq!(target.1, b"ab\nnext\n");
}
