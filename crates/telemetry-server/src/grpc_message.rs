//! The message beside a gRPC status, as its sender meant it: on the wire it is percent-encoded UTF-8.
//!
//! It is a peer's text: whoever shows it cuts and escapes it.

use std::borrow::Cow;

use http::HeaderMap;
use percent_encoding::percent_decode;

/// The message among headers or trailers; empty where there is none. What is no UTF-8 is replaced, and a `%` that
/// begins no byte stays as it is.
pub(crate) fn grpc_message(headers: &HeaderMap) -> Cow<'_, str> {
    let message = headers.get("grpc-message");
    message.map_or(Cow::Borrowed(""), |message| {
        percent_decode(message.as_bytes()).decode_utf8_lossy()
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(sent: &[u8], meant: &str) {
        let mut headers = HeaderMap::new();
        let sent = HeaderValue::from_bytes(sent).expect("a header's bytes");
        headers.insert("grpc-message", sent);
        assert_eq!(grpc_message(&headers), meant);
    }

    #[test]
    fn what_was_encoded_for_the_wire_is_read_as_it_was_meant() {
        check(b"Method not found!", "Method not found!");
        check(b"kein Schl%C3%BCssel%0A100%25", "kein Schl\u{fc}ssel\n100%");
        check(b"100%, %zz and %", "100%, %zz and %");
        check(b"%ff", "\u{fffd}");
        assert_eq!(grpc_message(&HeaderMap::new()), "");
    }
}
