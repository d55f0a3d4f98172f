//! The first words on a connection that a worker opened: who it is, and what the manager answers.
//!
//! Each side says one frame before HTTP/2 begins: eleven fixed bytes, four of length (most significant
//! first), that many of JSON. Keys that are not known are ignored, so that both sides may learn more;
//! the frame itself never changes. Nothing here reads or writes a socket.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::token::Token;

/// What a frame begins with.
const MAGIC: [u8; 11] = *b"TELEMETRY/1";
/// Bytes before the JSON of a frame.
pub const INTRODUCTION_HEAD_BYTES: usize = MAGIC.len() + 4;
/// Longest JSON of a frame, in bytes.
pub const MAX_INTRODUCTION_BYTES: usize = 4 * 1024;
/// What a connection of an HTTP/2 client begins with.
const HTTP2: &[u8] = b"PRI ";

/// Who a worker says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Introduction {
    /// The id it was given, or the one it gave itself.
    pub worker: String,
    /// The pool it believes it is in; empty if none.
    pub pool: String,
    /// 32 hexadecimal digits: this life of this process.
    pub incarnation: String,
    /// Its process id as it sees it itself; 0 if it does not say.
    pub pid: u32,
    /// What it shows that it may dial in, where its manager asks for that.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::token::shown")]
    pub token: Option<Token>,
    /// What it is called by those who run it, as `zone: a`; nothing is decided by it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it can do, in the words of [`capability`](crate::wire::capability).
    pub capabilities: Vec<String>,
    /// Attempts that failed since its last connection.
    pub attempts: u32,
}

/// What the manager answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
#[non_exhaustive]
pub enum IntroductionAnswer {
    /// HTTP/2 begins.
    Welcome,
    /// Another manager is the one to talk to.
    Moved {
        /// Where.
        address: String,
    },
    /// Not now.
    Wait {
        /// For so long, at least.
        seconds: u32,
    },
    /// Not as it is; coming again soon will not help.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

/// Why bytes are no introduction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntroductionError {
    /// The peer wants to be served.
    #[error(
        "the peer speaks HTTP/2 as a client; workers that serve are dialled by the manager ([watch], \
         [[endpoint]]), and a client of the manager's API uses the address of [http]"
    )]
    Http2,
    /// Something else entirely.
    #[error("the peer did not begin with TELEMETRY/1; is it a worker of this version?")]
    Unknown,
    /// The frame is too long.
    #[error("the introduction has {bytes} bytes; at most {MAX_INTRODUCTION_BYTES} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The frame holds no introduction.
    #[error("the introduction cannot be read: {problem}")]
    Malformed {
        /// What is wrong with it.
        problem: String,
    },
}

impl Introduction {
    /// The frame.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        frame(self)
    }

    /// Reads the JSON of a frame.
    ///
    /// # Errors
    ///
    /// [`IntroductionError::Malformed`].
    pub fn from_body(body: &[u8]) -> Result<Self, IntroductionError> {
        read(body)
    }
}

impl IntroductionAnswer {
    /// The frame.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        frame(self)
    }

    /// Reads the JSON of a frame.
    ///
    /// # Errors
    ///
    /// [`IntroductionError::Malformed`].
    pub fn from_body(body: &[u8]) -> Result<Self, IntroductionError> {
        read(body)
    }

    /// Where to go, if the answer is to go elsewhere and the address is one.
    #[must_use]
    pub fn moved_to(&self) -> Option<Address> {
        match self {
            Self::Moved { address } => address.parse().ok(),
            _ => None,
        }
    }
}

/// How many bytes of JSON follow the head of a frame. To be asked with fewer bytes as well, to learn early
/// that there will be none: `None` says that so far nothing is wrong.
///
/// # Errors
///
/// [`IntroductionError`] if this is the beginning of something else.
pub fn introduction_body_bytes(head: &[u8]) -> Result<Option<usize>, IntroductionError> {
    let seen = head.len().min(HTTP2.len());
    if seen == HTTP2.len() && head.starts_with(HTTP2) {
        return Err(IntroductionError::Http2);
    }
    let seen = head.len().min(MAGIC.len());
    // The first bytes may still become those of HTTP/2.
    if head[..seen] != MAGIC[..seen] && (seen >= HTTP2.len() || !HTTP2.starts_with(&head[..seen])) {
        return Err(IntroductionError::Unknown);
    }
    let Some(length) = head.get(MAGIC.len()..INTRODUCTION_HEAD_BYTES) else {
        return Ok(None);
    };
    let bytes = length
        .iter()
        .fold(0, |sum: usize, byte| sum << 8 | usize::from(*byte));
    if bytes > MAX_INTRODUCTION_BYTES {
        return Err(IntroductionError::TooLong { bytes });
    }
    Ok(Some(bytes))
}

fn frame(content: &impl Serialize) -> Vec<u8> {
    // Text and numbers only: there is nothing in them that JSON cannot say.
    let body = serde_json::to_vec(content).unwrap_or_default();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(INTRODUCTION_HEAD_BYTES + body.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, IntroductionError> {
    serde_json::from_slice(body).map_err(|error| IntroductionError::Malformed {
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduction() -> Introduction {
        Introduction {
            worker: "web-1".into(),
            pool: "web".into(),
            incarnation: "0123456789abcdef0123456789abcdef".into(),
            pid: 7,
            token: "0123456789abcdef".parse().ok(),
            labels: BTreeMap::from([("zone".into(), "a".into())]),
            capabilities: vec!["policy".into()],
            attempts: 2,
        }
    }

    #[test]
    fn what_is_framed_is_read_back() {
        let frame = introduction().to_frame();
        let (head, body) = frame.split_at(INTRODUCTION_HEAD_BYTES);
        assert_eq!(introduction_body_bytes(head), Ok(Some(body.len())));
        assert_eq!(Introduction::from_body(body), Ok(introduction()));
        let moved = IntroductionAnswer::Moved {
            address: "unix:/run/b.sock".into(),
        };
        let frame = moved.to_frame();
        let read = IntroductionAnswer::from_body(&frame[INTRODUCTION_HEAD_BYTES..]);
        assert_eq!(read.as_ref(), Ok(&moved));
        assert_eq!(moved.moved_to(), Some(Address::Unix("/run/b.sock".into())));
    }

    #[test]
    fn keys_that_are_missing_or_unknown_do_not_matter() {
        let read = Introduction::from_body(br#"{"worker":"w","region":{"bytes":1}}"#);
        assert_eq!(read.expect("an introduction").worker, "w");
        let short = Introduction::from_body(br#"{"worker":"w","token":"short"}"#);
        assert!(short.expect_err("no token").to_string().contains("16"));
        let answer = IntroductionAnswer::from_body(br#"{"answer":"welcome","epoch":1}"#);
        assert_eq!(answer, Ok(IntroductionAnswer::Welcome));
        assert!(IntroductionAnswer::from_body(br#"{"answer":"dance"}"#).is_err());
    }

    #[test]
    fn something_else_is_recognised_by_its_first_bytes() {
        let frame = introduction().to_frame();
        for cut in 0..INTRODUCTION_HEAD_BYTES {
            assert_eq!(introduction_body_bytes(&frame[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(introduction_body_bytes(b"PRI"), Ok(None));
        assert_eq!(
            introduction_body_bytes(b"PRI * HTTP/2.0\r\n"),
            Err(IntroductionError::Http2)
        );
        for other in [&b"GET /"[..], b"\x16\x03\x01\x02", b"TELEMETRX", b"X"] {
            assert_eq!(
                introduction_body_bytes(other),
                Err(IntroductionError::Unknown),
                "{other:?}"
            );
        }
        let mut long = frame[..INTRODUCTION_HEAD_BYTES].to_vec();
        long[11] = 1;
        assert!(matches!(
            introduction_body_bytes(&long),
            Err(IntroductionError::TooLong { bytes }) if bytes > 1 << 24
        ));
    }
}
