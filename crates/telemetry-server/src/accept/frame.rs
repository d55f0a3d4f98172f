//! Reads the frame with which a connection begins, byte by byte as far as it goes and no further: what
//! comes behind it is HTTP/2.

use std::io;
use std::time::Duration;

use telemetry_core::wire::{
    INTRODUCTION_HEAD_BYTES, Introduction, IntroductionError, introduction_body_bytes,
};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How long a connection may take to introduce itself.
pub const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no introduction.
#[derive(Debug)]
pub(super) enum Unread {
    /// The peer left without a word.
    Gone,
    /// It broke in the middle.
    Broken(io::Error),
    /// It is something else.
    Wrong(IntroductionError),
}

/// Reads one introduction.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Introduction, Unread> {
    let mut head = [0; INTRODUCTION_HEAD_BYTES];
    let mut seen = 0;
    let length = loop {
        if let Some(length) = introduction_body_bytes(&head[..seen]).map_err(Unread::Wrong)? {
            break length;
        }
        match stream.read(&mut head[seen..]).await {
            Ok(0) if seen == 0 => return Err(Unread::Gone),
            Ok(0) => return Err(Unread::Broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(more) => seen += more,
            Err(error) => return Err(Unread::Broken(error)),
        }
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(Unread::Broken)?;
    Introduction::from_body(&body).map_err(Unread::Wrong)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn introduction() -> Introduction {
        let mut introduction = Introduction::default();
        introduction.worker = "w".into();
        introduction.incarnation = "0".repeat(32);
        introduction
    }

    #[tokio::test]
    async fn what_comes_behind_the_frame_is_not_touched() {
        let mut bytes = introduction().to_frame();
        bytes.extend_from_slice(b"SETTINGS");
        let mut stream = &bytes[..];
        assert_eq!(read(&mut stream).await.expect("a frame"), introduction());
        assert_eq!(stream, b"SETTINGS");
    }

    #[tokio::test]
    async fn a_frame_may_come_in_any_pieces() {
        let (mut ours, mut theirs) = tokio::io::duplex(1);
        let written =
            tokio::spawn(async move { theirs.write_all(&introduction().to_frame()).await });
        assert_eq!(read(&mut ours).await.expect("a frame"), introduction());
        written.await.expect("no panic").expect("it was read");
    }

    #[tokio::test]
    async fn what_is_no_frame_is_known_by_its_first_bytes() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"PRI ").await.expect("room");
        let unread = read(&mut ours).await.expect_err("no frame");
        assert!(matches!(unread, Unread::Wrong(IntroductionError::Http2)));
        let nothing = read(&mut &b""[..]).await.expect_err("no frame");
        assert!(matches!(nothing, Unread::Gone));
        let half = read(&mut &b"TELEM"[..]).await.expect_err("no frame");
        assert!(matches!(half, Unread::Broken(_)), "{half:?}");
    }
}
