//! How large an artifact may be.

use std::{fs, path::Path};

use crate::failure::Failure;

/// The most bytes of the static command.
pub(crate) const COMMAND: u64 = 8_000_000;
/// The most bytes of a wheel. TLS takes 600,000 of them, most of it tables and assembly that no compressor makes smaller.
pub(crate) const WHEEL: u64 = 2_200_000;

/// Refuses `file` if it has more than `most` bytes.
pub(crate) fn check(file: &Path, most: u64) -> Result<(), Failure> {
    let found = fs::metadata(file).map_err(Failure::file("inspect", file))?;
    if found.len() <= most {
        return Ok(());
    }
    Err(Failure::Refused(vec![format!(
        "{} has {} bytes; at most {most} are allowed",
        file.display(),
        found.len()
    )]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_refused_with_both_sizes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "1234").unwrap();
        assert!(check(file.path(), 4).is_ok());
        let failure = check(file.path(), 3).unwrap_err().to_string();
        assert!(
            failure.ends_with("has 4 bytes; at most 3 are allowed"),
            "{failure}"
        );
    }
}
