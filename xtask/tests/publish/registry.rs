//! The registry, which is a program of its own, and what the test and it say to each other.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::workspace::Workspace;

/// A registry that runs; it ends when this is dropped, because its standard input does.
pub(crate) struct Registry {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    directory: PathBuf,
}

impl Registry {
    /// Starts an empty one, which `workspace` calls `loop` from now on.
    pub(crate) fn start(workspace: &Workspace) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/publish/registry.py");
        let directory = workspace.place().join("registry");
        let mut process = Command::new("python3")
            .arg(program)
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut registry = Self {
            input: process.stdin.take(),
            output: BufReader::new(process.stdout.take().expect("it is piped")),
            process,
            directory,
        };
        let address = registry.hear();
        workspace.configure(&format!(
            "[registries.loop]\nindex = \"{address}\"\ntoken = \"nobody asks\"\n\n[net]\nretry = 0\n"
        ));
        registry
    }

    /// Gives it a command and waits until it is in force.
    pub(crate) fn tell(&mut self, command: &str) {
        let input = self.input.as_mut().expect("it runs");
        writeln!(input, "{command}").expect("it reads");
        let word = command.split(' ').next().unwrap_or_default();
        assert_eq!(self.hear(), format!("done {word}"));
    }

    /// The next line that it says.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it speaks");
        line.trim_end().to_owned()
    }

    /// Names and versions of all uploads that it took, in order.
    pub(crate) fn record(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.join("uploads")).expect("there is a record");
        let words = |line: &str| line.rsplit_once(' ').expect("a checksum").0.to_owned();
        text.lines().map(words).collect()
    }

    /// The text of `file` in the archive of `package`, which is a name and a version.
    pub(crate) fn packed(&self, package: &str, file: &str) -> String {
        let archive = self.directory.join(format!("{package}.crate"));
        let mut tar = Command::new("tar");
        tar.arg("-xzOf")
            .arg(archive)
            .arg(format!("{package}/{file}"));
        let output = tar.output().expect("tar starts");
        assert!(output.status.success(), "{package} holds no {file}");
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// Ends it.
    pub(crate) fn end(&mut self) {
        drop(self.input.take());
        self.process.wait().expect("it ends");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.end();
    }
}
