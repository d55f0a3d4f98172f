//! What the name in a worker's certificate says of it.

use std::str::FromStr;

use telemetry_core::wire::Introduction;

/// Between the name in a certificate and what its holder calls itself; no name in a certificate has it.
const SEPARATOR: char = ':';

/// For what a certificate stands, among workers that dial in with one. Its name is its SPIFFE id without
/// `spiffe://`, or else its common name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Certifies {
    /// It names the worker: one that calls itself otherwise is `NAME:OTHERWISE`, so that the holder of one
    /// certificate is never taken for that of another.
    #[default]
    Worker,
    /// It names the pool; workers call themselves what they want in it.
    Pool,
    /// That its holder may dial in, and no more.
    Nobody,
}

impl Certifies {
    /// Puts what a certificate says over what its holder says.
    pub(super) fn outweigh(self, mut introduction: Introduction, name: &str) -> Introduction {
        match self {
            Self::Worker => {
                let called = &introduction.worker;
                let is_kin = called
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(SEPARATOR));
                if called.is_empty() {
                    name.clone_into(&mut introduction.worker);
                } else if !is_kin {
                    introduction.worker = format!("{name}{SEPARATOR}{called}");
                }
            }
            Self::Pool => name.clone_into(&mut introduction.pool),
            Self::Nobody => {}
        }
        introduction
    }
}

impl FromStr for Certifies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "worker" => Ok(Self::Worker),
            "pool" => Ok(Self::Pool),
            "nobody" => Ok(Self::Nobody),
            _ => Err(format!(
                "{text:?} is not allowed; it must be \"worker\", \"pool\" or \"nobody\""
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_outweighs_what_its_holder_says() {
        let say = |certifies: Certifies, worker: &str, pool: &str| {
            let mut introduction = Introduction::default();
            introduction.worker = worker.to_owned();
            introduction.pool = pool.to_owned();
            let outweighed = certifies.outweigh(introduction, "web-1");
            (outweighed.worker, outweighed.pool)
        };
        for (called, id) in [
            ("", "web-1"),
            ("web-1", "web-1"),
            ("web-1:77", "web-1:77"),
            ("web-1.77", "web-1:web-1.77"),
            ("web-2", "web-1:web-2"),
            ("web-11", "web-1:web-11"),
        ] {
            let expected = (id.to_owned(), "a".to_owned());
            assert_eq!(say(Certifies::Worker, called, "a"), expected);
        }
        let pool = say(Certifies::Pool, "x", "a");
        assert_eq!(pool, ("x".to_owned(), "web-1".to_owned()));
        let nobody = say(Certifies::Nobody, "x", "a");
        assert_eq!(nobody, ("x".to_owned(), "a".to_owned()));
    }
}
