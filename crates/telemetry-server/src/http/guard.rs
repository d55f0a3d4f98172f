//! Who may ask at all: decided from the request's head, before any path is looked at.
//!
//! A page in the operator's browser can send requests to a loopback address; it can neither forge
//! `Host` nor leave out `Origin` or `Sec-Fetch-Site` where they matter. This room knows HTTP headers
//! and nothing of what is served.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Sent by browsers: the relation between the page that asks and the server.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Tells browsers to keep the answer from pages of other origins.
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// The names under which this server may be addressed.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// Lower case, without ports. Loopback names are always allowed.
    hosts: Vec<String>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    Host,
    Origin,
    Method,
}

impl Guard {
    pub(super) fn new(hosts: impl IntoIterator<Item = String>) -> Self {
        Self {
            hosts: hosts
                .into_iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
        }
    }

    pub(super) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let authority = only(headers, HOST).ok_or(Refusal::Host)?;
        if !self.allows(authority) {
            return Err(Refusal::Host);
        }
        // `GET http://other/ HTTP/1.1`: both must be ours.
        if uri
            .authority()
            .is_some_and(|target| !self.allows(target.as_str()))
        {
            return Err(Refusal::Host);
        }
        if headers.contains_key(ORIGIN) {
            let origin = only(headers, ORIGIN).ok_or(Refusal::Origin)?;
            let theirs = ["http://", "https://"]
                .iter()
                .find_map(|s| origin.strip_prefix(s));
            if !theirs.is_some_and(|theirs| theirs.eq_ignore_ascii_case(authority)) {
                return Err(Refusal::Origin);
            }
        }
        if headers.contains_key(SEC_FETCH_SITE)
            && !matches!(only(headers, SEC_FETCH_SITE), Some("same-origin" | "none"))
        {
            return Err(Refusal::Origin);
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Refusal::Method);
        }
        Ok(())
    }

    /// Whether `authority`, with or without a port, is a name of this server.
    fn allows(&self, authority: &str) -> bool {
        // User info has no business in a Host header.
        let Some(authority) = authority
            .parse::<Authority>()
            .ok()
            .filter(|_| !authority.contains('@'))
        else {
            return false;
        };
        let host = authority.host().to_ascii_lowercase();
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&host);
        host == "localhost"
            || bare
                .parse()
                .is_ok_and(|address: IpAddr| address.is_loopback())
            || self
                .hosts
                .iter()
                .any(|allowed| *allowed == host || allowed == bare)
    }
}

/// The header's value, if there is exactly one and it is text.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, why) = match self {
            Self::Host => (
                StatusCode::FORBIDDEN,
                "this server does not go by that Host; use a loopback name or configure \
                 `allowed_hosts`",
            ),
            Self::Origin => (StatusCode::FORBIDDEN, "pages of other origins may not ask"),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD are served",
            ),
        };
        let mut response = (status, Json(json!({ "error": why }))).into_response();
        if self == Self::Method {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

/// Refuses what may not ask, and marks every answer as nothing to embed, guess at or keep.
pub(super) async fn stand(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let verdict = guard.check(request.method(), request.uri(), request.headers());
    let mut response = match verdict {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&str, &str)], expected: Result<(), Refusal>) {
        let guard = Guard::new(["Telemetry.Example".to_owned(), "::2".to_owned()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let verdict = guard.check(&Method::GET, &Uri::from_static("/metrics"), &map);
        assert_eq!(verdict, expected, "{headers:?}");
    }

    #[test]
    fn loopback_and_configured_hosts_are_served() {
        for host in [
            "localhost",
            "LOCALHOST:9100",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:80",
            "telemetry.example:443",
            "[::2]:1",
        ] {
            check(&[("host", host)], Ok(()));
        }
    }

    #[test]
    fn foreign_hosts_are_refused() {
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "0.0.0.0",
            "10.0.0.1:9100",
            "[::3]",
            "localhost:80:80",
            "localhost/x",
        ] {
            check(&[("host", host)], Err(Refusal::Host));
        }
        check(&[], Err(Refusal::Host));
        check(
            &[("host", "localhost"), ("host", "evil.example")],
            Err(Refusal::Host),
        );
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let host = ("host", "localhost:9100");
        check(&[host, ("origin", "http://localhost:9100")], Ok(()));
        check(&[host, ("sec-fetch-site", "same-origin")], Ok(()));
        check(&[host, ("sec-fetch-site", "none")], Ok(()));
        for origin in [
            "null",
            "",
            "http://evil.example",
            "http://localhost",
            "http://localhost:9101",
            "file://localhost:9100",
        ] {
            check(&[host, ("origin", origin)], Err(Refusal::Origin));
        }
        for site in ["cross-site", "same-site", "anything"] {
            check(&[host, ("sec-fetch-site", site)], Err(Refusal::Origin));
        }
    }

    #[test]
    fn an_absolute_target_must_be_ours_too() {
        let guard = Guard::new([]);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        let check = |uri: &'static str| guard.check(&Method::GET, &Uri::from_static(uri), &headers);
        assert_eq!(check("http://evil.example/metrics"), Err(Refusal::Host));
        assert_eq!(check("http://localhost/metrics"), Ok(()));
    }
}
