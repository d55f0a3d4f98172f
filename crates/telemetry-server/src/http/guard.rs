//! Who may ask at all: decided from the request's head, before any path is looked at.
//!
//! A page in the operator's browser can send requests to a loopback address; it can neither forge
//! `Host` nor leave out `Origin` or `Sec-Fetch-Site` where they matter. Another user of this machine can
//! forge all of them and has no token. Who comes over the unix socket was looked at before, and no page can. This
//! room knows HTTP headers and nothing of what is served.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap,
    HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use telemetry_core::catalog::escape;

use super::access::Access;
use super::arrival::Arrival;
use super::hosts::HostRule;
use super::refused::{Refusal, Refusals};
use super::routes;

/// Sent by browsers: the relation between the page that asks and the server.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Tells browsers to keep the answer from pages of other origins.
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// The only path for those that do not say whom they ask, as old probes do.
const NAMELESS: &str = "/healthz";

/// What every request has to pass.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Names of this server. Loopback ones are always allowed.
    hosts: Vec<HostRule>,
    access: Arc<Access>,
    refusals: Refusals,
}

impl Guard {
    pub(super) fn new(hosts: Vec<HostRule>, access: Arc<Access>, refusals: Refusals) -> Self {
        let inner = Inner {
            hosts,
            access,
            refusals,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    fn check(
        &self,
        arrival: Arrival,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let authority = only(headers, HOST);
        if let Arrival::Port { own, .. } = arrival {
            let named = |authority: &str| self.allows(authority, own);
            let is_named = match authority {
                Some(authority) => named(authority),
                None => !headers.contains_key(HOST) && uri.path() == NAMELESS,
            };
            // `GET http://other/ HTTP/1.1`: both must be ours.
            if !is_named
                || uri
                    .authority()
                    .is_some_and(|target| !named(target.as_str()))
            {
                return Err(Refusal::Host);
            }
        }
        if headers.contains_key(ORIGIN) {
            let origin = only(headers, ORIGIN).ok_or(Refusal::Origin)?;
            let theirs = ["http://", "https://"]
                .iter()
                .find_map(|s| origin.strip_prefix(s));
            let is_own =
                |theirs: &str| authority.is_some_and(|own| theirs.eq_ignore_ascii_case(own));
            if !theirs.is_some_and(is_own) {
                return Err(Refusal::Origin);
            }
        }
        if headers.contains_key(SEC_FETCH_SITE)
            && !matches!(only(headers, SEC_FETCH_SITE), Some("same-origin" | "none"))
        {
            return Err(Refusal::Origin);
        }
        let path = uri.path();
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if !reads && !routes::writes(path).any(|it| it == method) {
            return Err(Refusal::Method);
        }
        if let Arrival::Port { .. } = arrival
            && !(reads && self.inner.access.is_public(path))
        {
            self.check_token(headers)?;
        }
        // No form of a page can say so, whatever else it sends.
        match reads || only(headers, CONTENT_TYPE).is_some_and(is_json) {
            true => Ok(()),
            false => Err(Refusal::Media),
        }
    }

    /// Whether the token is shown. What changes something needs it over a port even where reading is public.
    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = self.inner.access.token().ok_or(Refusal::Closed)?;
        if !headers.contains_key(AUTHORIZATION) {
            return Err(Refusal::NoToken);
        }
        let shown = only(headers, AUTHORIZATION).and_then(|shown| shown.split_once(' '));
        match shown {
            Some((scheme, shown)) if scheme.eq_ignore_ascii_case("bearer") => {
                let is_right = token.is(shown.trim_ascii().as_bytes());
                is_right.then_some(()).ok_or(Refusal::WrongToken)
            }
            _ => Err(Refusal::WrongToken),
        }
    }

    /// Whether `authority`, with or without a port, is a name of this server; `own` is the address that the
    /// connection came to.
    fn allows(&self, authority: &str, own: Option<IpAddr>) -> bool {
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
        let address = bare.parse::<IpAddr>().ok().map(|it| it.to_canonical());
        let is_loopback = address.is_some_and(|address| address.is_loopback());
        // No descriptor is needed to know this one, and there may be none.
        let came_to_it = || address.is_some() && address == own;
        let allows = |rule: &HostRule| (rule.is_own() && came_to_it()) || rule.allows(&host);
        host == "localhost" || is_loopback || self.inner.hosts.iter().any(allows)
    }

    /// What somebody is told who is not served.
    fn answer(&self, refusal: Refusal, path: &str) -> Response {
        let file = || {
            let file = self
                .inner
                .access
                .file()
                .map(|file| file.display().to_string());
            escape(&file.unwrap_or_default()).into_owned()
        };
        let (status, why) = match refusal {
            Refusal::Origin => (
                StatusCode::FORBIDDEN,
                "pages of other origins may not ask".to_owned(),
            ),
            Refusal::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                format!("only {} are served here", allowed(path)),
            ),
            Refusal::Media => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "what changes something is sent as JSON: say `Content-Type: application/json`"
                    .to_owned(),
            ),
            Refusal::NoToken => (
                StatusCode::UNAUTHORIZED,
                format!(
                    "this needs the operators' token, which is in {} at the manager: send it as \
                     `Authorization: Bearer …`, or ask over the manager's unix socket",
                    file()
                ),
            ),
            Refusal::WrongToken => (
                StatusCode::UNAUTHORIZED,
                format!(
                    "this is not the operators' token, which is in {} at the manager: send that as \
                     `Authorization: Bearer …`",
                    file()
                ),
            ),
            Refusal::Closed => (
                StatusCode::FORBIDDEN,
                "only what is public is served over a port, since this manager has no token: give it \
                 a run_dir or a `token_file`, or ask over its unix socket"
                    .to_owned(),
            ),
            // Nothing else is found in the head of a request.
            Refusal::Host
            | Refusal::User
            | Refusal::Slow
            | Refusal::Crowded
            | Refusal::Tls => (
                StatusCode::FORBIDDEN,
                "this server does not go by that Host; use a loopback name or configure \
                 `allowed_hosts`"
                    .to_owned(),
            ),
        };
        let mut response = (status, Json(json!({ "error": why }))).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::METHOD_NOT_ALLOWED
            && let Ok(allowed) = HeaderValue::try_from(allowed(path))
        {
            headers.insert(ALLOW, allowed);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// What may be done at a path.
fn allowed(path: &str) -> String {
    let writes = routes::writes(path).map(|method| format!(", {method}"));
    format!("GET, HEAD{}", writes.collect::<String>())
}

/// Whether a content type is that of JSON, whatever it says behind it.
fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case("application/json")
}

/// The header's value, if there is exactly one and it is text.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Refuses what may not ask, and marks every answer as nothing to embed, guess at or keep.
pub(super) async fn stand(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let arrival = request.extensions().get::<Arrival>().copied();
    // Nobody but a door hands requests over, and each says where they came from.
    let Some(arrival) = arrival else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let verdict = guard.check(arrival, request.method(), request.uri(), request.headers());
    let path = request.uri().path().to_owned();
    let mut response = match verdict {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            guard.inner.refusals.note(refusal, &arrival);
            guard.answer(refusal, &path)
        }
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
mod tests;
