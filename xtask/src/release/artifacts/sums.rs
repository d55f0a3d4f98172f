//! `SHA256SUMS`: a line for every file in the folder, as `sha256sum --check` reads it.

use std::{collections::BTreeMap, fs, path::Path};

use sha2::{Digest, Sha256};

use crate::failure::Failure;

use crate::release::rehearse::hexadecimal;

/// The file in the folder.
pub(crate) const FILE: &str = "SHA256SUMS";

/// Writes the sums of all files in `folder`, and returns the size of each by its name.
pub(crate) fn write(folder: &Path) -> Result<BTreeMap<String, usize>, Failure> {
    let mut sizes = BTreeMap::new();
    let mut lines = BTreeMap::new();
    let entries = fs::read_dir(folder).map_err(Failure::file("list", folder))?;
    for entry in entries {
        let path = entry.map_err(Failure::file("list", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == FILE {
            continue;
        }
        let content = fs::read(&path).map_err(Failure::file("read", &path))?;
        let sum = hexadecimal(&Sha256::digest(&content));
        lines.insert(name.to_string(), format!("{sum}  {name}\n"));
        sizes.insert(name.into_owned(), content.len());
    }
    let text: String = lines.into_values().collect();
    let path = folder.join(FILE);
    fs::write(&path, text).map_err(Failure::file("write", &path))?;
    Ok(sizes)
}

/// The names of the files in the text of such a file. A path that leads out of the folder is none of ours.
pub(crate) fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(_, name)| name)
        .filter(|name| !name.is_empty() && !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "").unwrap();
        fs::write(folder.path().join("a"), "abc").unwrap();
        write(folder.path()).unwrap();
        let sizes = write(folder.path()).unwrap();
        assert_eq!(
            sizes,
            BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 0)])
        );
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(
            text.contains("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  b\n")
        );
        assert_eq!(names(&text).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(names("00  ../a\n").count(), 0);
    }
}
