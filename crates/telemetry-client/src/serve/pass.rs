//! What whoever opens a stream has to show where the system does not tell who it is: the token of the workers.
//!
//! It stands in the metadata of the call, as gRPC's credentials do, so that any manager can show it.

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use telemetry_core::Token;
use tonic::Status;

/// What stands before the token.
const SCHEME: &[u8] = b"Bearer ";

/// The token of a door, and how often somebody had none.
#[derive(Debug)]
pub(super) struct Pass {
    /// What has to be shown.
    token: Token,
    /// Calls that were refused.
    refused: AtomicU64,
}

impl Pass {
    /// Has this token shown.
    pub(super) fn new(token: Token) -> Self {
        Self {
            token,
            refused: AtomicU64::new(0),
        }
    }

    /// Why a call with these headers is refused; `None` if it is not. The first one is told of.
    pub(super) fn refuse(&self, headers: &HeaderMap) -> Option<Status> {
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let problem = match (shown.next(), shown.next()) {
            (None, _) => {
                "the stream needs the workers' token in the metadata, as authorization: Bearer TOKEN"
            }
            (Some(_), Some(_)) => "the metadata has more than one authorization",
            (Some(shown), None) => match shown.as_bytes().strip_prefix(SCHEME) {
                Some(token) if self.token.is(token) => return None,
                Some(_) => "the token that was shown is not that of this worker",
                None => "the authorization that was shown is no Bearer token",
            },
        };
        if self.refused.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                problem,
                "a stream was refused; the next ones like it are only counted"
            );
        }
        Some(Status::unauthenticated(problem))
    }

    /// Calls that were refused.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn only_the_token_itself_opens() {
        let pass = Pass::new(TOKEN.parse().expect("a token"));
        let bearing = |texts: &[&str]| {
            let mut headers = HeaderMap::new();
            for text in texts {
                let value = HeaderValue::from_str(text).expect("a header");
                headers.append(AUTHORIZATION, value);
            }
            pass.refuse(&headers).map(|status| status.code())
        };
        let right = format!("Bearer {TOKEN}");
        assert_eq!(bearing(&[&right]), None);
        assert_eq!(pass.refused(), 0);
        let longer = format!("{right}0");
        for wrong in [
            &[][..],
            &[TOKEN],
            &["Bearer "],
            &["Bearer 0123456789abcdee"],
            &[&right[..right.len() - 1]],
            &[&longer],
            &[&right, &right],
            &["Basic dTpw"],
        ] {
            assert_eq!(
                bearing(wrong),
                Some(tonic::Code::Unauthenticated),
                "{wrong:?}"
            );
        }
        assert_eq!(pass.refused(), 8);
    }
}
