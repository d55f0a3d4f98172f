//! Whom a short form is about: `pool:NAME`, `worker:GLOB`, `all`, or a word that is one of both.

use serde_json::{Value, json};

use crate::api::{Api, block_on, query_value};
use crate::failure::Failure;
use crate::look::Look;

/// Whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Pool(String),
    Worker(String),
    All,
}

/// Most bytes of an id with globs before the number at its end.
const MOST_READABLE: usize = 55;

impl Target {
    /// The id of the rule that a short form keeps for it.
    pub(super) fn id(&self, form: &str) -> String {
        match self {
            Self::Pool(name) => id_of(&format!("{form}.pool"), name),
            Self::Worker(glob) => id_of(&format!("{form}.worker"), glob),
            Self::All => format!("{form}.all"),
        }
    }

    /// Has a rule be about it.
    pub(super) fn aim(&self, rule: &mut Value) {
        match self {
            // A name is meant as it is.
            Self::Pool(name) => rule["target"] = json!({ "pool": literal(name) }),
            Self::Worker(glob) => rule["target"] = json!({ "worker": glob }),
            Self::All => {}
        }
    }
}

/// A glob that matches this name only.
fn literal(name: &str) -> String {
    let special = |character| "*?[]{}\\".contains(character);
    let escaped = name.chars().flat_map(|character| {
        let escape = special(character).then_some('\\');
        escape.into_iter().chain([character])
    });
    escaped.collect()
}

/// An id for a word: what may not be in one is made to what may, with a number that tells apart what would be the
/// same then.
fn id_of(form: &str, word: &str) -> String {
    let made: String = plain(word).take(32).collect();
    match made == word {
        true => format!("{form}.{made}"),
        false => {
            let made = made.trim_matches(['-', '.', '_']);
            format!("{form}.{made}-{:08x}", number(word))
        }
    }
}

/// An id for this one and globs: its end tells apart whatever the rest does not.
pub(super) fn id_with(id: &str, globs: &[String]) -> String {
    if globs.is_empty() {
        return id.to_owned();
    }
    let whole = format!("{id}\0{}", globs.join("\0"));
    let made = format!("{id}.{}", globs.join("."));
    let made: String = plain(&made).take(MOST_READABLE).collect();
    let made = made.trim_end_matches(['-', '.', '_']);
    format!("{made}-{:08x}", number(&whole))
}

/// A text with nothing in it that an id may not have.
fn plain(text: &str) -> impl Iterator<Item = char> {
    text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(byte),
        _ => '-',
    })
}

fn number(text: &str) -> u32 {
    text.bytes().fold(5_381, |sum: u32, byte| {
        sum.wrapping_mul(33) ^ u32::from(byte)
    })
}

/// Whom a word means; of a bare one the manager is asked what it is.
pub(super) fn resolve(look: &Look, word: &str) -> Result<Target, Failure> {
    match word.split_once(':') {
        Some(("pool", name)) if !name.is_empty() => return Ok(Target::Pool(name.to_owned())),
        Some(("worker", glob)) if !glob.is_empty() => return Ok(Target::Worker(glob.to_owned())),
        Some(_) => {
            let what = format!("{word:?} is no target; use pool:NAME, worker:GLOB or all");
            return Err(Failure::Usage(what));
        }
        None if word == "all" => return Ok(Target::All),
        None => {}
    }
    let api = Api::of(&look.manager)?;
    let pools = look.all("/api/v1/pools")?;
    let is_pool = pools.iter().any(|pool| pool["name"] == word);
    let path = format!("/api/v1/workers/{}", query_value(word));
    let is_worker = block_on(api.find(&path))?.is_some();
    match (is_pool, is_worker) {
        (true, false) => Ok(Target::Pool(word.to_owned())),
        (false, true) => Ok(Target::Worker(literal(word))),
        (true, true) => Err(Failure::Usage(format!(
            "{word:?} is a pool and a worker; say pool:{word} or worker:{word}"
        ))),
        (false, false) => Err(Failure::Usage(format!(
            "there is no pool and no worker {word:?}; for one that is to come say pool:{word} or worker:{word}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_allowed_and_differ_where_targets_do() {
        let id = |target: Target| target.id("mute");
        assert_eq!(id(Target::Pool("gpu".into())), "mute.pool.gpu");
        assert_eq!(id(Target::All), "mute.all");
        let stars = ["gpu-*", "gpu-?", "GPU-1"].map(|glob| id(Target::Worker(glob.into())));
        for (place, id) in stars.iter().enumerate() {
            assert!(id.starts_with("mute.worker."), "{id}");
            assert!(
                id.len() <= 64
                    && id
                        .bytes()
                        .all(|it| b"._-".contains(&it) || it.is_ascii_alphanumeric())
            );
            assert_eq!(id.to_ascii_lowercase(), *id);
            assert_eq!(stars.iter().position(|other| other == id), Some(place));
        }
        let long = id(Target::Worker("x".repeat(200)));
        let sample = |id: &str, globs: &[&str]| {
            let globs: Vec<_> = globs.iter().map(|&glob| glob.to_owned()).collect();
            id_with(id, &globs)
        };
        let web = sample("sample.pool.web", &["api"]);
        assert!(web.starts_with("sample.pool.web.api-"), "{web}");
        assert_ne!(sample("s", &["a.b"]), sample("s", &["a", "b"]));
        let many = ["tool.execution.*"; 64];
        assert_eq!(sample("sample.worker.inference-workers", &many).len(), 64);
        assert!(long.len() <= 64, "{long}");
    }

    #[test]
    fn the_name_of_a_pool_is_no_glob() {
        let mut rule = json!({});
        Target::Pool("a[1]*".into()).aim(&mut rule);
        assert_eq!(rule["target"]["pool"], r"a\[1\]\*");
    }
}
