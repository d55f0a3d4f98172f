//! Facts about heads of requests, without any connection.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::http::access::{HttpRoute, TokenFile};

const PORT: Arrival = Arrival::Port {
    peer: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1)),
    own: None,
};

fn guard(hosts: &[&str], token: Option<&TokenFile>) -> Guard {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let public = vec![HttpRoute::Metrics, HttpRoute::Healthz];
    let access = Access::new(public, token).unwrap();
    Guard::new(hosts, Arc::new(access), Refusals::default())
}

#[track_caller]
fn check(headers: &[(&str, &str)], expected: Result<(), Refusal>) {
    let guard = guard(&["Telemetry.Example", "::2"], None);
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    let verdict = guard.check(PORT, &Method::GET, &Uri::from_static("/metrics"), &map);
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
    let guard = guard(&[], None);
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    let check =
        |uri: &'static str| guard.check(PORT, &Method::GET, &Uri::from_static(uri), &headers);
    assert_eq!(check("http://evil.example/metrics"), Err(Refusal::Host));
    assert_eq!(check("http://localhost/metrics"), Ok(()));
}

fn head(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    map
}

#[test]
fn who_names_nobody_gets_health_alone() {
    let guard = guard(&[], None);
    let check = |path: &'static str, headers: &[(&str, &str)]| {
        guard.check(PORT, &Method::GET, &Uri::from_static(path), &head(headers))
    };
    assert_eq!(check("/healthz", &[]), Ok(()));
    assert_eq!(check("/metrics", &[]), Err(Refusal::Host));
    assert_eq!(check("/api/workers", &[]), Err(Refusal::Host));
    // Two, or one that is wrong, is not none.
    assert_eq!(
        check("/healthz", &[("host", "evil.example")]),
        Err(Refusal::Host)
    );
    let two = [("host", "localhost"), ("host", "localhost")];
    assert_eq!(check("/healthz", &two), Err(Refusal::Host));
    let page = [("origin", "http://evil.example")];
    assert_eq!(check("/healthz", &page), Err(Refusal::Origin));
}

#[test]
fn an_address_of_ours_is_one_of_self() {
    let came_to = |own: &str| Arrival::Port {
        peer: SocketAddr::from(([10, 0, 0, 9], 1)),
        own: Some(own.parse().unwrap()),
    };
    let check = |hosts: &[&str], own: &str, host: &str| {
        let uri = Uri::from_static("/metrics");
        guard(hosts, None).check(came_to(own), &Method::GET, &uri, &head(&[("host", host)]))
    };
    // This machine does not have it, so only the connection can know.
    assert_eq!(check(&["self"], "240.0.0.7", "240.0.0.7:9464"), Ok(()));
    assert_eq!(
        check(&["self"], "240.0.0.7", "240.0.0.8"),
        Err(Refusal::Host)
    );
    assert_eq!(check(&[], "240.0.0.7", "240.0.0.7"), Err(Refusal::Host));
    assert_eq!(
        check(&["240.0.0.0/24"], "10.0.0.1", "240.0.0.7:9464"),
        Ok(())
    );
    assert_eq!(
        check(&["self"], "240.0.0.7", "evil.example"),
        Err(Refusal::Host)
    );
}

#[test]
fn what_is_not_public_needs_the_token_over_a_port_and_none_over_the_socket() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, SECRET).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let guard = guard(&[], Some(&TokenFile::Given(file)));
    let check = |arrival: Arrival, path: &'static str, shown: &[&str]| {
        let mut headers = head(&[("host", "localhost")]);
        for shown in shown {
            headers.append(AUTHORIZATION, shown.parse().unwrap());
        }
        guard.check(arrival, &Method::GET, &Uri::from_static(path), &headers)
    };
    let right = format!("Bearer {SECRET}");
    for path in ["/metrics", "/healthz"] {
        assert_eq!(check(PORT, path, &[]), Ok(()));
    }
    for path in ["/api/tap", "/api/workers", "/nowhere", "/metrics/"] {
        assert_eq!(check(PORT, path, &[]), Err(Refusal::NoToken), "{path}");
        assert_eq!(check(PORT, path, &[&right]), Ok(()), "{path}");
        let small = right.replace("Bearer", "bearer");
        assert_eq!(check(PORT, path, &[&small]), Ok(()), "{path}");
        for wrong in [
            "Bearer x",
            "Bearer",
            "Bearer ",
            "",
            SECRET,
            &right[..38],
            "Basic Og==",
        ] {
            let verdict = check(PORT, path, &[wrong]);
            assert_eq!(verdict, Err(Refusal::WrongToken), "{path}: {wrong}");
        }
        let twice = check(PORT, path, &[&right, &right]);
        assert_eq!(twice, Err(Refusal::WrongToken), "{path}");
        let socket = Arrival::Socket { pid: None };
        assert_eq!(check(socket, path, &[]), Ok(()), "{path}");
    }
    let in_the_address = "/api/workers?token=0123456789abcdef0123456789abcdef";
    assert_eq!(check(PORT, in_the_address, &[]), Err(Refusal::NoToken));

    let answer = guard.answer(Refusal::NoToken, "/");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()[WWW_AUTHENTICATE], "Bearer");
    assert!(!format!("{guard:?}").contains(SECRET));
}

#[test]
fn without_a_token_only_what_is_public_is_served() {
    let guard = guard(&[], None);
    let headers = head(&[("host", "localhost"), ("authorization", "Bearer ")]);
    let uri = Uri::from_static("/api/workers");
    let verdict = guard.check(PORT, &Method::GET, &uri, &headers);
    assert_eq!(verdict, Err(Refusal::Closed));
}

/// What a request brings, and what of it counts.
struct Request {
    host: &'static str,
    origin: Option<&'static str>,
    token: Option<&'static str>,
    kind: Option<&'static str>,
}

#[test]
fn every_route_is_guarded_the_same_whatever_comes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let token = "0123456789abcdef0123456789abcdef";
    std::fs::write(&file, token).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let guard = guard(&[], Some(&TokenFile::given(&file)));
    let older = ["/api/workers", "/api/tap", "/nowhere"].map(str::to_owned);
    let routes = routes::ROUTES.iter();
    let paths = routes.map(|route| format!("{}{}", routes::ROOT, route.path.replace("{id}", "w")));
    let paths: Vec<String> = paths.chain(older).collect();
    let right = format!("Bearer {token}");
    let mut passed = [0; 2];
    for path in &paths {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let is_read = ["GET", "HEAD"].contains(&method);
            let is_marked = routes::ROUTES.iter().any(|route| {
                format!("{}{}", routes::ROOT, route.path) == *path && route.method == method
            });
            for request in requests() {
                let mut headers = vec![("host", request.host)];
                headers.extend(request.origin.map(|it| ("origin", it)));
                headers.extend(request.kind.map(|it| ("content-type", it)));
                let shown = request
                    .token
                    .map(|it| if it == "right" { &*right } else { it });
                headers.extend(shown.map(|it| ("authorization", it)));
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let uri = path.parse().unwrap();
                for arrival in [PORT, Arrival::Socket { pid: None }] {
                    let is_port = arrival == PORT;
                    let verdict = guard.check(arrival, &method, &uri, &head(&headers));
                    let expected = if is_port && request.host != "localhost" {
                        Err(Refusal::Host)
                    } else if request
                        .origin
                        .is_some_and(|it| it != format!("http://{}", request.host))
                    {
                        Err(Refusal::Origin)
                    } else if !is_read && !is_marked {
                        Err(Refusal::Method)
                    } else if is_port && request.token.is_none() {
                        Err(Refusal::NoToken)
                    } else if is_port && request.token != Some("right") {
                        Err(Refusal::WrongToken)
                    } else if !is_read
                        && !request
                            .kind
                            .is_some_and(|it| it.starts_with("application/json"))
                    {
                        Err(Refusal::Media)
                    } else {
                        passed[usize::from(!is_read)] += 1;
                        Ok(())
                    };
                    assert_eq!(verdict, expected, "{arrival} {method} {path} {headers:?}");
                }
            }
        }
    }
    assert!(passed[0] > 100, "{passed:?}");
}

fn requests() -> Vec<Request> {
    let mut all = Vec::new();
    for host in ["localhost", "evil.example"] {
        for origin in [
            None,
            Some("http://localhost"),
            Some("http://evil.example"),
            Some("null"),
        ] {
            for token in [
                None,
                Some("right"),
                Some("Bearer 0123456789abcdef0123456789abcdeF"),
            ] {
                for kind in [
                    None,
                    Some("application/json"),
                    Some("application/json; charset=utf-8"),
                    Some("text/plain"),
                    Some("application/x-www-form-urlencoded"),
                ] {
                    all.push(Request {
                        host,
                        origin,
                        token,
                        kind,
                    });
                }
            }
        }
    }
    all
}
