//! Files as they will lie somewhere else, before they are packed: path, content, and whether they are run.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
};

use crate::{failure::Failure, process};

/// Files by their path from the top.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, (Vec<u8>, u32)>,
}

impl Tree {
    /// A file that is read.
    pub(crate) fn file(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), (content.into(), 0o644));
    }

    /// A file that is run.
    pub(crate) fn program(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), (content.into(), 0o755));
    }

    /// A copy of the file at `from`.
    pub(crate) fn copy(&mut self, path: impl Into<String>, from: &Path) -> Result<(), Failure> {
        let content = fs::read(from).map_err(Failure::file("read", from))?;
        self.file(path, content);
        Ok(())
    }

    /// The bytes of all files.
    pub(crate) fn bytes(&self) -> usize {
        self.files.values().map(|(content, _)| content.len()).sum()
    }

    /// Writes everything below `top`, with modes that do not depend on the mask of this process.
    pub(crate) fn write(&self, top: &Path) -> Result<(), Failure> {
        let mode = |path: &Path, mode: u32| {
            fs::set_permissions(path, Permissions::from_mode(mode))
                .map_err(Failure::file("set the mode of", path))
        };
        fs::create_dir_all(top).map_err(Failure::file("create", top))?;
        mode(top, 0o755)?;
        for (name, (content, bits)) in &self.files {
            let path = top.join(name);
            let above = path.parent().unwrap_or(top);
            fs::create_dir_all(above).map_err(Failure::file("create", above))?;
            for directory in above.ancestors().take_while(|it| *it != top) {
                mode(directory, 0o755)?;
            }
            fs::write(&path, content).map_err(Failure::file("write", &path))?;
            mode(&path, *bits)?;
        }
        Ok(())
    }

    /// Packs everything into the archive `into`, below a directory `name`, each file of the time `epoch`.
    pub(crate) fn pack(&self, into: &Path, name: &str, epoch: u64) -> Result<(), Failure> {
        let above = tempfile::tempdir().map_err(Failure::file("create", &std::env::temp_dir()))?;
        self.write(&above.path().join(name))?;
        let mut tar = process::command("tar");
        tar.args(["--create", "--format=ustar", "--sort=name"])
            .args(["--owner=0", "--group=0", "--numeric-owner"])
            .arg(format!("--mtime=@{epoch}"))
            .arg("--directory")
            .arg(above.path())
            .arg(name);
        let packed = compressed(&process::output(&mut tar)?)?;
        fs::write(into, packed).map_err(Failure::file("write", into))
    }
}

/// `content` by gzip, without a name or a time in it.
pub(crate) fn compressed(content: &[u8]) -> Result<Vec<u8>, Failure> {
    let refused = |reason: String| Failure::Machine(format!("gzip: {reason}"));
    let mut gzip = process::command("gzip");
    gzip.args(["--best", "--no-name"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = gzip.spawn().map_err(|error| refused(error.to_string()))?;
    let input = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // While it writes it must be read, or neither goes on.
        scope.spawn(|| input.map(|mut input| input.write_all(content)));
        child.wait_with_output()
    });
    let output = output.map_err(|error| refused(error.to_string()))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(refused(output.status.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_the_same_each_time_and_holds_the_modes() {
        let mut tree = Tree::default();
        tree.program("bin/run", "#!/bin/sh\n");
        tree.file("a.txt", vec![b'a'; 1 << 18]);
        assert_eq!(tree.bytes(), 10 + (1 << 18));
        let folder = tempfile::tempdir().unwrap();
        let pack = |file: &str| {
            let path = folder.path().join(file);
            tree.pack(&path, "top", 1_700_000_000).unwrap();
            fs::read(path).unwrap()
        };
        assert_eq!(pack("one.tar.gz"), pack("two.tar.gz"));
        let mut tar = process::command("tar");
        tar.args(["-tvzf"]).arg(folder.path().join("one.tar.gz"));
        let listed = String::from_utf8(process::output(&mut tar).unwrap()).unwrap();
        let begins: Vec<&str> = listed
            .lines()
            .map(|line| line.split_whitespace().next().unwrap())
            .collect();
        assert_eq!(
            begins,
            ["drwxr-xr-x", "-rw-r--r--", "drwxr-xr-x", "-rwxr-xr-x"],
            "{listed}"
        );
        assert!(listed.contains("0/0"), "{listed}");
    }
}
