//! A copy of the tree in which each crate has the name under which it is published.
//!
//! Whatever is packed is packed from there: the work tree keeps the names by which we work. The copy lies in
//! the target directory and is written anew each time.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, metadata, process};

use super::{
    git::{Repository, Tag},
    manifest,
    packages::Package,
};

/// A copy of the tree.
#[derive(Debug)]
pub(crate) struct Export {
    directory: PathBuf,
    /// Where cargo builds and packs what is exported; the same for all copies.
    target: PathBuf,
}

impl Export {
    /// Copies the work tree `root` as it lies there, without what git ignores.
    pub(crate) fn of_work_tree(root: &Path, packages: &[Package]) -> Result<Self, Failure> {
        let export = Self::empty(root, "tree")?;
        let mut git = Repository::at(root).git();
        git.args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let listed = process::output(&mut git)?;
        for path in String::from_utf8_lossy(&listed).split_terminator('\0') {
            copy(&root.join(path), &export.directory.join(path))?;
        }
        export.rename(packages, None)?;
        Ok(export)
    }

    /// Copies what was tagged as `tag`; every crate has its own name still.
    ///
    /// The copy is a repository that stands at the tag, so that cargo notes the commit in what it packs.
    pub(crate) fn of_tag(root: &Path, tag: &Tag) -> Result<Self, Failure> {
        let export = Self::empty(root, &tag.name)?;
        let repository = Repository::at(root);
        let mut git = repository.git();
        git.args(["rev-parse", "--git-path", "objects"]);
        let objects = process::output(&mut git)?;
        let objects = root.join(String::from_utf8_lossy(&objects).trim_end());
        let objects = fs::canonicalize(&objects).map_err(Failure::file("find", &objects))?;

        let copy = Repository::at(&export.directory);
        let git = |arguments: &[&str]| process::output(copy.git().args(arguments)).map(drop);
        git(&["init", "--quiet", "--template="])?;
        let shared = export.directory.join(".git/objects/info");
        fs::create_dir_all(&shared).map_err(Failure::file("create", &shared))?;
        let shared = shared.join("alternates");
        fs::write(&shared, format!("{}\n", objects.display()))
            .map_err(Failure::file("write", &shared))?;
        let commit = repository.commit_of(&tag.name)?.unwrap_or_default();
        git(&["update-ref", "--no-deref", "HEAD", &commit])?;
        git(&["reset", "--hard", "--quiet"])?;
        Ok(export)
    }

    /// Where the copy is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where cargo puts what it packs.
    pub(crate) fn packed(&self, package: &Package) -> PathBuf {
        let file = format!("{}-{}.crate", package.published, package.version);
        self.target.join("package").join(file)
    }

    /// cargo, to be run in the copy.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = process::cargo();
        cargo
            .current_dir(&self.directory)
            .env("CARGO_TARGET_DIR", &self.target);
        cargo
    }

    fn empty(root: &Path, name: &str) -> Result<Self, Failure> {
        let metadata = metadata::own(root)?;
        let target = Path::new(metadata["target_directory"].as_str().unwrap_or("target"));
        let directory = target.join("xtask-release/export").join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(Failure::file("empty", &directory))?;
        }
        fs::create_dir_all(&directory).map_err(Failure::file("create", &directory))?;
        Ok(Self {
            directory,
            target: target.join("export"),
        })
    }

    /// Gives each of `packages`, all of which are in the copy, its published name, in its own manifest and
    /// wherever it is asked for. With `registry` they are to be found there, by each other.
    pub(crate) fn rename(
        &self,
        packages: &[Package],
        registry: Option<&str>,
    ) -> Result<(), Failure> {
        for package in packages {
            let (name, published) = (&package.name, &package.published);
            if let Some(registry) = registry {
                self.ask_for(package, "registry", registry)?;
            }
            if name == published {
                continue;
            }
            self.ask_for(package, "package", published)?;
            self.change(&package.path("Cargo.toml"), "[package] name", |text| {
                let text = manifest::with_library(text, &package.library());
                manifest::with_value(&text, "package", "name", published)
            })?;
            self.change("Cargo.lock", "package", |text| {
                Some(manifest::with_locked_name(text, name, published))
            })?;
        }
        Ok(())
    }

    /// Adds `key` to what the others ask for when they ask for `package`; nothing where nobody does.
    fn ask_for(&self, package: &Package, key: &str, value: &str) -> Result<(), Failure> {
        self.change("Cargo.toml", "[workspace.dependencies]", |text| {
            let changed = manifest::with_dependency_key(text, &package.name, key, value);
            Some(changed.unwrap_or_else(|| text.to_owned()))
        })
    }

    fn change(
        &self,
        path: &str,
        what: &str,
        change: impl Fn(&str) -> Option<String>,
    ) -> Result<(), Failure> {
        let path = self.directory.join(path);
        let text = fs::read_to_string(&path).map_err(Failure::file("read", &path))?;
        let Some(text) = change(&text) else {
            return Err(Failure::Machine(format!(
                "{} has no {what} of the form that is changed here",
                path.display()
            )));
        };
        fs::write(&path, text).map_err(Failure::file("write", &path))
    }
}

/// Copies a file or a link; one that git knows and that is not there is left out.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let found = match fs::symlink_metadata(from) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::file("inspect", from)(error)),
    };
    let directory = to.parent().unwrap_or(to);
    fs::create_dir_all(directory).map_err(Failure::file("create", directory))?;
    if found.is_symlink() {
        let target = fs::read_link(from).map_err(Failure::file("read", from))?;
        symlink(target, to).map_err(Failure::file("write", to))
    } else {
        fs::copy(from, to)
            .map(drop)
            .map_err(Failure::file("write", to))
    }
}
