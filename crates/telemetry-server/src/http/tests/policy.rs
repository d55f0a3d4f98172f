//! Facts about `/api/v1/policy`, over real sockets and with a real manager.

use super::v1::rig_of;
use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A server whose port asks for the token.
async fn guarded() -> (Rig, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).unwrap();
    let config = HttpConfig {
        listen: Some(loopback()),
        public: vec![HttpRoute::Api],
        token: Some(crate::http::TokenFile::given(&file)),
        ..HttpConfig::default()
    };
    (rig_of(2, config).await.0, directory)
}

/// Sends a change, and returns the status and what is said.
async fn send(rig: &Rig, request: &str, more: &str, body: &str) -> (u16, Value) {
    let head = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(rig.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer[9..12].parse().unwrap();
    (status, serde_json::from_str(super::body(&answer)).unwrap())
}

async fn set(rig: &Rig, revision: &str, rules: &str) -> (u16, Value) {
    let body = format!("{{\"rules\": {rules}}}");
    send(
        rig,
        "PUT /api/v1/policy",
        &format!("If-Match: {revision}\r\n"),
        &body,
    )
    .await
}

const SLOW: &str = r#"[{"id": "slow", "match": ["tool.*"], "rate": 0.1}]"#;

#[tokio::test]
async fn rules_are_set_for_the_revision_that_was_seen_and_no_other() {
    let (rig, _token) = guarded().await;
    let before = rig.json("/api/v1/policy").await;
    let revision = before["revision"].as_u64().unwrap();
    assert_eq!(before["rules"], json!([]));
    let body = format!("{{\"rules\": {SLOW}}}");
    let (status, said) = send(&rig, "PUT /api/v1/policy", "", &body).await;
    assert_eq!(status, 428, "{said}");
    assert!(
        said["error"].as_str().unwrap().contains("If-Match"),
        "{said}"
    );
    let (status, taken) = set(&rig, &format!("\"{revision}\""), SLOW).await;
    assert_eq!((status, &taken["workers"]), (200, &json!(2)), "{taken}");
    let now = taken["revision"].as_u64().unwrap();
    assert!(now > revision);
    let (status, said) = set(&rig, &format!("\"{revision}\""), "[]").await;
    assert_eq!(status, 412, "{said}");
    let shown = rig.json("/api/v1/policy").await;
    assert_eq!(shown["revision"], now);
    assert_eq!(
        shown["rules"],
        json!([{ "origin": "live", "rule": { "id": "slow", "match": ["tool.*"], "rate": 0.1 } }])
    );
    let answer = rig.get("/api/v1/policy").await;
    assert!(answer.contains(&format!("etag: \"{now}\"")), "{answer}");
    let (status, _) = set(&rig, "*", "[]").await;
    assert_eq!(status, 200);
    let history = rig.json("/api/v1/policy/history").await;
    let items = history["items"].as_array().unwrap();
    assert_eq!(
        (&items[0]["removed"], &items[1]["added"]),
        (&json!(["slow"]), &json!(["slow"]))
    );
    assert_eq!(items[1]["rules"][0]["id"], "slow");
    assert!(
        items[0]["by"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{history}"
    );
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once_and_changes_nothing() {
    let (rig, _token) = guarded().await;
    let rules = r#"[{"id": "a", "match": ["["], "drop": true}, {"id": "b", "match": ["*"], "rates": 1},
                    {"id": "c", "match": ["*"], "rate": 7}]"#;
    let (status, said) = set(&rig, "*", rules).await;
    assert_eq!(status, 422, "{said}");
    let problems = said["problems"].as_array().unwrap();
    for id in ["a", "b", "c"] {
        assert!(problems.iter().any(|it| it["rule"] == id), "{id}: {said}");
    }
    assert_eq!(rig.json("/api/v1/policy").await["rules"], json!([]));
    for (body, expected) in [
        ("{", "this is no JSON"),
        ("[]", "sent as {\"rules\": […]}"),
        ("{\"rules\": [], \"more\": 1}", "and nothing else"),
    ] {
        let (status, said) = send(&rig, "PUT /api/v1/policy", "If-Match: *\r\n", body).await;
        assert_eq!(status, 400, "{said}");
        assert!(said["error"].as_str().unwrap().contains(expected), "{said}");
    }
    let body = format!("{{\"rules\": [], \"x\": \"{}\"}}", "x".repeat(300_000));
    let (status, _) = send(&rig, "PUT /api/v1/policy", "If-Match: *\r\n", &body).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn a_check_changes_nothing_and_says_what_would_change() {
    let (rig, _token) = guarded().await;
    set(&rig, "*", SLOW).await;
    let rules = r#"{"rules": [{"id": "new", "match": ["tol.*"], "drop": true}]}"#;
    let (status, said) = send(&rig, "POST /api/v1/policy:check", "", rules).await;
    assert_eq!((status, &said["problems"]), (200, &json!([])), "{said}");
    assert_eq!(
        (&said["added"], &said["removed"]),
        (&json!(["new"]), &json!(["slow"]))
    );
    assert_eq!(said["warnings"][0]["rule"], "new");
    assert_eq!(
        rig.json("/api/v1/policy").await["rules"][0]["rule"]["id"],
        "slow"
    );
}

#[tokio::test]
async fn workers_that_are_away_keep_nobody_waiting() {
    let (rig, _token) = guarded().await;
    set(&rig, "*", SLOW).await;
    let status = rig.json("/api/v1/policy/status?wait=5").await;
    assert_eq!(
        (&status["converged"], &status["workers"]["away"]),
        (&json!(true), &json!(2))
    );
    assert_eq!(
        (&status["others"][0]["state"], &status["rules"][0]["id"]),
        (&json!("away"), &json!("slow"))
    );
    let refused = rig.get("/api/v1/policy/status?wait=soon").await;
    assert!(refused.contains("0 to 60, are allowed"), "{refused}");
}

#[tokio::test]
async fn reading_may_be_public_and_a_change_needs_the_token_and_json() {
    let (rig, _token) = guarded().await;
    let put = "PUT /api/v1/policy HTTP/1.1\r\nHost: localhost\r\nIf-Match: *";
    let answer = rig.ask(put).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let answer = rig
        .ask(&format!("{put}\r\nAuthorization: Bearer {TOKEN}"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    let page = format!("{put}\r\nAuthorization: Bearer {TOKEN}\r\nOrigin: http://evil.example");
    let answer = rig.ask(&page).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let answer = rig
        .ask("DELETE /api/v1/policy HTTP/1.1\r\nHost: localhost")
        .await;
    assert!(answer.contains("allow: GET, HEAD, PUT"), "{answer}");
}
