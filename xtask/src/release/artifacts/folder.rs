//! The folder that artifacts go into: only what was put there by this command is ever removed.

use std::{fs, io::ErrorKind, path::Path};

use crate::failure::Failure;

use super::sums;

/// Makes `into` an empty folder. Of one with earlier artifacts those are removed that its sums name; one that
/// holds anything else is left as it is.
pub(crate) fn empty(into: &Path) -> Result<(), Failure> {
    fs::create_dir_all(into).map_err(Failure::file("create", into))?;
    let list = into.join(sums::FILE);
    let earlier = match fs::read_to_string(&list) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::file("read", &list)(error)),
    };
    let mut ours: Vec<&str> = sums::names(&earlier).collect();
    ours.push(sums::FILE);
    let entries = fs::read_dir(into).map_err(Failure::file("list", into))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !ours.iter().any(|it| name == *it) {
            return Err(Failure::Machine(format!(
                "{} holds {}, which is no earlier artifact; name a folder that is empty",
                into.display(),
                name.display()
            )));
        }
    }
    for name in ours {
        let path = into.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Failure::file("delete", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_artifacts_go_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a.deb"), "").unwrap();
        sums::write(folder.path()).unwrap();
        empty(folder.path()).unwrap();
        assert!(!path("a.deb").exists() && !path(sums::FILE).exists());

        fs::write(path("a.deb"), "").unwrap();
        sums::write(folder.path()).unwrap();
        fs::write(path("letters"), "").unwrap();
        let failure = empty(folder.path()).unwrap_err().to_string();
        assert!(failure.contains("holds letters"), "{failure}");
        assert!(path("a.deb").exists() && path("letters").exists());
    }
}
