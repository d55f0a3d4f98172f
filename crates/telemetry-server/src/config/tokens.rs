//! The operators' token and those of workers: never one, by whatever name, since a worker's opens no route of HTTP.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use telemetry_core::Token;

use super::error::ConfigError;
use super::section::Section;
use super::{AcceptSection, EndpointSection, HttpSection};

/// What is said of one that is both.
const BOTH: &str = "it is the operators' token ([http] token_file) too, which opens HTTP to whoever has it; workers need \
                    one of their own";

/// Refuses a token of workers that is the operators', as far as the files are there to be read.
pub(super) fn check(
    whole: &Section<'_>,
    accept: Option<&AcceptSection>,
    http: Option<&HttpSection>,
    endpoints: &[EndpointSection],
) -> Result<(), ConfigError> {
    let Some(operators) = http.and_then(|http| http.token.as_ref()) else {
        return Ok(());
    };
    let is_theirs = |file: Option<&Path>| file.is_some_and(|it| is_one(it, operators.path()));
    let of_accept = accept.and_then(|accept| accept.token_file.as_deref());
    if let (true, Some(section)) = (is_theirs(of_accept), whole.section("accept")?) {
        return Err(section.invalid("token_file", BOTH));
    }
    for (section, endpoint) in whole.sections("endpoint")?.iter().zip(endpoints) {
        if is_theirs(endpoint.token_file.as_deref()) {
            return Err(section.invalid("token_file", BOTH));
        }
    }
    Ok(())
}

/// Whether two paths lead to one token.
fn is_one(one: &Path, other: &Path) -> bool {
    if std::path::absolute(one).ok() == std::path::absolute(other).ok() {
        return true;
    }
    let files = |path| fs::metadata(path).ok().filter(fs::Metadata::is_file);
    let (Some(first), Some(second)) = (files(one), files(other)) else {
        return false;
    };
    let token = |path| fs::read_to_string(path).ok()?.parse::<Token>().ok();
    (first.dev(), first.ino()) == (second.dev(), second.ino())
        || token(one).is_some_and(|it| token(other) == Some(it))
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const PORT: &str = "listen = \"127.0.0.1:7443\"\n";
    const TLS: &str = "[accept.tls]\ncert = \"/c\"\nkey = \"/k\"\n";

    fn read(workers: &Path, operators: &Path) -> Result<Config, String> {
        let text = format!(
            "[http]\ntoken_file = {operators:?}\n[accept]\n{PORT}token_file = {workers:?}\n{TLS}"
        );
        Config::parse(&text, "t.toml").map_err(|error| error.to_string())
    }

    #[test]
    fn one_token_for_workers_and_operators_is_refused_by_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("one"), "0123456789abcdef\n").unwrap();
        fs::write(path("same"), "0123456789abcdef").unwrap();
        fs::write(path("other"), "fedcba9876543210").unwrap();
        std::os::unix::fs::symlink(path("one"), path("link")).unwrap();
        fs::hard_link(path("one"), path("hard")).unwrap();
        for workers in ["one", "same", "link", "hard"] {
            let said = read(&path(workers), &path("one")).expect_err(workers);
            let wanted = "t.toml:5:14: accept.token_file: it is the operators' token";
            assert!(said.starts_with(wanted), "{said}");
        }
        let missing = path("missing");
        assert!(read(&missing, &missing).is_err(), "whatever will be there");
        for workers in ["other", "missing"] {
            read(&path(workers), &path("one")).unwrap();
        }
        let text = format!(
            "[http]\ntoken_file = {:?}\n[[endpoint]]\nworker_id = \"w\"\naddress = \"127.0.0.1:1\"\ntoken_file = {:?}",
            path("one"),
            path("link")
        );
        let said = Config::parse(&text, "t.toml").expect_err("one").to_string();
        assert!(
            said.starts_with("t.toml:6:14: endpoint.token_file: it is"),
            "{said}"
        );
    }
}
