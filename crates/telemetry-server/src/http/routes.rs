//! The table of routes: paths, methods, and what may be asked.
//!
//! The router, the guard and the OpenAPI document all follow it. What is not `GET` changes something, and is marked
//! by that.

use axum::http::Method;
use percent_encoding::percent_decode_str;

/// What every path here begins with.
pub(super) const ROOT: &str = "/api/v1";

/// What every list can be asked.
const LIST: &[&str] = &["limit", "after", "sort", "match"];

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    Fleet,
    Workers,
    Worker,
    Pools,
    Ledger,
    Events,
    Catalog,
    Quarantine,
    Handlers,
    Policy,
    SetPolicy,
    CheckPolicy,
    PolicyStatus,
    PolicyHistory,
    Tap,
    Openapi,
}

/// A route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// Below [`ROOT`]; `{id}` at the end stands for one word.
    pub(super) path: &'static str,
    /// The parameters of the query that it understands.
    pub(super) parameters: &'static [&'static str],
    pub(super) what: What,
}

const fn get(path: &'static str, parameters: &'static [&'static str], what: What) -> Route {
    Route {
        method: Method::GET,
        path,
        parameters,
        what,
    }
}

/// One that changes something, or is brought something.
const fn write(method: Method, path: &'static str, what: What) -> Route {
    Route {
        method,
        path,
        parameters: &[],
        what,
    }
}

/// All there are.
pub(super) const ROUTES: &[Route] = &[
    get("/fleet", &[], What::Fleet),
    get(
        "/workers",
        &["limit", "after", "sort", "match", "pool"],
        What::Workers,
    ),
    get("/workers/{id}", &[], What::Worker),
    get("/pools", LIST, What::Pools),
    get("/ledger", &[], What::Ledger),
    get("/events", LIST, What::Events),
    get("/catalog", LIST, What::Catalog),
    get("/quarantine", LIST, What::Quarantine),
    get("/handlers", LIST, What::Handlers),
    get("/policy", &[], What::Policy),
    write(Method::PUT, "/policy", What::SetPolicy),
    write(Method::POST, "/policy:check", What::CheckPolicy),
    get("/policy/status", &["wait"], What::PolicyStatus),
    get("/policy/history", &[], What::PolicyHistory),
    get("/tap", &["match", "pool", "worker", "where"], What::Tap),
    get("/openapi.json", &[], What::Openapi),
];

/// The routes of a path, and the word that stands for `{id}` there.
fn at(path: &str) -> impl Iterator<Item = (&'static Route, String)> {
    let path = path.strip_prefix(ROOT).unwrap_or_default();
    ROUTES.iter().filter_map(move |route| {
        let word = match route.path.strip_suffix("{id}") {
            Some(before) => path.strip_prefix(before)?,
            None => return (route.path == path).then(|| (route, String::new())),
        };
        let is_one = !word.is_empty() && !word.contains('/');
        let word = percent_decode_str(word).decode_utf8().ok()?;
        is_one.then(|| (route, word.into_owned()))
    })
}

/// The route of a request, and the word that stands for `{id}` in it. `HEAD` is answered as `GET` is.
pub(super) fn find(path: &str, method: &Method) -> Option<(&'static Route, String)> {
    let method = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    at(path).find(|(route, _)| route.method == *method)
}

/// What may be done at a path, besides reading it.
pub(super) fn writes(path: &str) -> impl Iterator<Item = &'static Method> {
    let methods = at(path).map(|(route, _)| &route.method);
    methods.filter(|method| **method != Method::GET)
}

/// All paths, for whoever asks for one that is not there.
pub(super) fn paths() -> String {
    let mut paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    paths.dedup();
    format!("{ROOT}{}", paths.join(&format!(", {ROOT}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_whole_or_not_at_all() {
        let what = |path| find(path, &Method::GET).map(|(route, id)| (route.what, id));
        let found = |what, id: &str| Some((what, id.to_owned()));
        assert_eq!(what("/api/v1/workers"), found(What::Workers, ""));
        assert_eq!(what("/api/v1/workers/gpu-1"), found(What::Worker, "gpu-1"));
        assert_eq!(what("/api/v1/workers/a%20b"), found(What::Worker, "a b"));
        for absent in [
            "/api/v1",
            "/api/v1/",
            "/api/v1/workers/",
            "/api/v1/workers/a/b",
            "/api/v1/workers/%ff",
            "/workers",
            "/api/v2/workers",
        ] {
            assert_eq!(what(absent), None, "{absent}");
        }
        assert!(find("/api/v1/fleet", &Method::HEAD).is_some());
        assert!(find("/api/v1/fleet", &Method::PUT).is_none());
    }
}
