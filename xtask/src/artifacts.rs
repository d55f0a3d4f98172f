//! Generated files as data: a map from path to content that can be written or compared.
//!
//! Every generator returns an [`Artifacts`]; this file knows how to bring the disk in line with it
//! and how to tell that the disk is out of line. It does not know what is generated.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// Everything one generator writes.
#[derive(Debug, Default)]
pub(crate) struct Artifacts {
    /// Content by path; paths are relative to the workspace root.
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Directories that belong to the generator alone: any other file in them is an orphan.
    owned: BTreeSet<PathBuf>,
}

/// One way in which the disk is not what the generator would write.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Difference {
    /// The generator writes it and it is not there.
    Missing(PathBuf),
    /// Its content is not what the generator writes.
    Differs(PathBuf),
    /// It lies in a generated directory and no generator writes it.
    Orphan(PathBuf),
}

impl Artifacts {
    /// Declares `directory` (relative to the root) as written by this generator alone.
    pub(crate) fn own(&mut self, directory: impl Into<PathBuf>) {
        self.owned.insert(directory.into());
    }

    /// Adds a file; `path` is relative to the root.
    pub(crate) fn insert(&mut self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), content.into());
    }

    /// What is wrong on disk below `root`, in order of kind and path.
    pub(crate) fn compare(&self, root: &Path) -> Result<Vec<Difference>, Failure> {
        let mut differences = Vec::new();
        for (path, content) in &self.files {
            match fs::read(root.join(path)) {
                Ok(found) if found == *content => {}
                Ok(_) => differences.push(Difference::Differs(path.clone())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    differences.push(Difference::Missing(path.clone()));
                }
                Err(error) => return Err(Failure::file("read", &root.join(path))(error)),
            }
        }
        for directory in &self.owned {
            for path in files_below(root, directory)? {
                if !self.files.contains_key(&path) {
                    differences.push(Difference::Orphan(path));
                }
            }
        }
        differences.sort();
        Ok(differences)
    }

    /// Makes the disk below `root` equal to the map: writes what is missing or different, deletes
    /// orphans, leaves fresh files (and their modification time) alone. Returns what it changed.
    pub(crate) fn write(&self, root: &Path) -> Result<Vec<Difference>, Failure> {
        let differences = self.compare(root)?;
        for difference in &differences {
            match difference {
                Difference::Missing(path) | Difference::Differs(path) => {
                    let target = root.join(path);
                    if let Some(directory) = target.parent() {
                        fs::create_dir_all(directory)
                            .map_err(Failure::file("create", directory))?;
                    }
                    fs::write(&target, &self.files[path])
                        .map_err(Failure::file("write", &target))?;
                }
                Difference::Orphan(path) => {
                    let target = root.join(path);
                    fs::remove_file(&target).map_err(Failure::file("delete", &target))?;
                }
            }
        }
        Ok(differences)
    }

    /// What a generator command does: write and say what changed, or with `check` compare and fail
    /// with the names of the files and `remedy`, the command that would make them fresh.
    pub(crate) fn apply(
        &self,
        root: &Path,
        check: bool,
        remedy: &'static str,
    ) -> Result<(), Failure> {
        if check {
            let differences = self.compare(root)?;
            if differences.is_empty() {
                println!("generated files: {}, all fresh", self.files.len());
                return Ok(());
            }
            let differences = differences.iter().map(ToString::to_string).collect();
            return Err(Failure::Stale {
                remedy,
                differences,
            });
        }
        let changed = self.write(root)?;
        for difference in &changed {
            println!("{}", difference.done());
        }
        println!(
            "generated files: {}, changed: {}",
            self.files.len(),
            changed.len()
        );
        Ok(())
    }
}

impl Difference {
    /// The file that it is about.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Missing(path) | Self::Differs(path) | Self::Orphan(path) => path,
        }
    }

    /// The sentence for a difference that has been removed.
    fn done(&self) -> String {
        match self {
            Self::Missing(path) => format!("wrote   {}", path.display()),
            Self::Differs(path) => format!("updated {}", path.display()),
            Self::Orphan(path) => format!("deleted {}", path.display()),
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "missing: {}", path.display()),
            Self::Differs(path) => write!(f, "differs: {}", path.display()),
            Self::Orphan(path) => write!(f, "orphan:  {}", path.display()),
        }
    }
}

/// Every file below `directory`, as paths relative to `root`. An absent directory has none.
pub(crate) fn files_below(root: &Path, directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let absolute = root.join(directory);
    let entries = match fs::read_dir(&absolute) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::file("list", &absolute)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Failure::file("list", &absolute))?;
        let path = directory.join(entry.file_name());
        if entry
            .file_type()
            .map_err(Failure::file("inspect", &entry.path()))?
            .is_dir()
        {
            found.extend(files_below(root, &path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_files() -> Artifacts {
        let mut artifacts = Artifacts::default();
        artifacts.own("out");
        artifacts.insert("out/a.rs", "a");
        artifacts.insert("out/deep/b.bin", [0, 1, 2]);
        artifacts
    }

    #[test]
    fn written_files_are_fresh() {
        let root = tempfile::tempdir().unwrap();
        let changed = two_files().write(root.path()).unwrap();
        assert_eq!(changed.len(), 2);
        assert_eq!(two_files().compare(root.path()).unwrap(), []);
        assert_eq!(two_files().write(root.path()).unwrap(), []);
    }

    #[test]
    fn missing_different_and_orphan_files_are_named() {
        let root = tempfile::tempdir().unwrap();
        two_files().write(root.path()).unwrap();
        fs::remove_file(root.path().join("out/a.rs")).unwrap();
        fs::write(root.path().join("out/deep/b.bin"), "edited by hand").unwrap();
        fs::write(root.path().join("out/deep/old.rs"), "of a removed message").unwrap();

        let differences = two_files().compare(root.path()).unwrap();
        assert_eq!(
            differences,
            [
                Difference::Missing("out/a.rs".into()),
                Difference::Differs("out/deep/b.bin".into()),
                Difference::Orphan("out/deep/old.rs".into()),
            ]
        );

        let failure = two_files()
            .apply(root.path(), true, "cargo xtask gen")
            .unwrap_err();
        let text = failure.to_string();
        for expected in [
            "cargo xtask gen",
            "missing: out/a.rs",
            "orphan:  out/deep/old.rs",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in {text:?}");
        }
        assert!(
            !root.path().join("out/a.rs").exists(),
            "--check wrote a file"
        );
    }

    #[test]
    fn writing_deletes_orphans_and_only_in_owned_directories() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("out")).unwrap();
        fs::write(root.path().join("out/old.rs"), "").unwrap();
        fs::write(root.path().join("kept.rs"), "").unwrap();
        two_files().write(root.path()).unwrap();
        assert!(!root.path().join("out/old.rs").exists());
        assert!(root.path().join("kept.rs").exists());
    }
}
