//! Where live rules outlive the manager: one small file, replaced whole.
//!
//! What is written stands under another name first, is on the disk, and takes the place of what was there
//! before: whoever reads finds the old set or the new one, at whatever moment this process is killed. It
//! knows files and no workers.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use telemetry_core::rules::Rule;

/// Version of the file's form.
const VERSION: u32 = 1;
/// Longest file that is read: several times the largest set.
const MAX_BYTES: u64 = 1 << 20;

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    version: u32,
    /// Revision under which the rules were taken.
    pub(super) revision: u64,
    /// The live rules.
    pub(super) rules: Vec<Rule>,
}

/// The file.
#[derive(Debug, Clone)]
pub(super) struct StateFile {
    path: PathBuf,
}

impl Kept {
    pub(super) const fn new(revision: u64, rules: Vec<Rule>) -> Self {
        Self {
            version: VERSION,
            revision,
            rules,
        }
    }
}

impl StateFile {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is kept; nothing, if there is no file.
    pub(super) fn load(&self) -> io::Result<Option<Kept>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // By way of a value, as rules from elsewhere: one reader for all.
        let kept: Kept = serde_json::from_value(serde_json::from_slice(&text)?)?;
        if kept.version != VERSION {
            let problem = format!("it has version {}, known is {VERSION}", kept.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(Some(kept))
    }

    /// Keeps this from now on.
    pub(super) fn save(&self, kept: &Kept) -> io::Result<()> {
        let mut text = serde_json::to_vec(kept)?;
        text.push(b'\n');
        let unfinished = self.beside(".new");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        File::open(self.directory())?.sync_all()
    }

    /// Moves the file out of the way, for a person to look at. Returns where it is now.
    pub(super) fn set_aside(&self) -> io::Result<PathBuf> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let aside = self.beside(&format!(".bad-{}", now.map_or(0, |now| now.as_millis())));
        fs::rename(&self.path, &aside)?;
        Ok(aside)
    }

    /// A name beside the file's own.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(suffix);
        name.into()
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::Duration;

    use telemetry_core::emit::random_u64;
    use telemetry_core::rules::RuleAction;

    use super::*;

    /// Where the program that only writes is to write.
    const WRITES_TO: &str = "TELEMETRY_TEST_WRITES_TO";
    /// How often it is killed.
    const KILLS: usize = 1_000;

    fn kept(revision: u64) -> Kept {
        let rules = (0..40)
            .map(|n| {
                let rate = RuleAction::Rate((revision % 1_000) as f64 / 1_000.0);
                Rule::new(format!("rule-{n}"), [format!("tool.{revision}.*")], rate)
            })
            .collect();
        Kept::new(revision, rules)
    }

    #[test]
    fn what_was_saved_is_loaded_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::at(dir.path().join("policy.json"));
        assert_eq!(file.load().unwrap(), None);
        file.save(&kept(7)).unwrap();
        file.save(&kept(8)).unwrap();
        assert_eq!(file.load().unwrap(), Some(kept(8)));
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else");
    }

    #[test]
    fn what_is_no_set_is_refused_and_can_be_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::at(dir.path().join("policy.json"));
        for text in [
            "",
            "{",
            r#"{"version":1,"revision":1,"rules":[],"more":1}"#,
            r#"{"version":2,"revision":1,"rules":[]}"#,
            &" ".repeat(1 << 21),
        ] {
            fs::write(file.path(), text).unwrap();
            assert!(file.load().is_err(), "{text:.60}");
        }
        let aside = file.set_aside().unwrap();
        assert!(aside.to_string_lossy().contains("policy.json.bad-"));
        assert_eq!(file.load().unwrap(), None);
    }

    /// Not a test: the program that only writes, until it is killed.
    #[test]
    #[ignore = "run by the test below, as a process of its own"]
    fn writes_for_ever() {
        let Some(path) = std::env::var_os(WRITES_TO) else {
            return;
        };
        let file = StateFile::at(path.into());
        let mut next = file.load().unwrap().map_or(1, |kept| kept.revision + 1);
        loop {
            file.save(&kept(next)).unwrap();
            writeln!(io::stdout(), "saved {next}").unwrap();
            next += 1;
        }
    }

    #[test]
    fn a_kill_at_any_moment_leaves_the_old_set_or_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::at(dir.path().join("policy.json"));
        let (mut last, mut unfinished) = (0, 0);
        for _ in 0..KILLS {
            let mut program = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "policy::state::tests::writes_for_ever"])
                .args(["--ignored", "--nocapture"])
                .env(WRITES_TO, file.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
            let saved = |line: &str| line.strip_prefix("saved ")?.parse::<u64>().ok();
            let told = lines.find_map(|line| saved(&line.ok()?)).expect("it saves");
            thread::sleep(Duration::from_micros(random_u64() % 2_000));
            program.kill().unwrap();
            program.wait().unwrap();
            let told = lines
                .map_while(Result::ok)
                .filter_map(|line| saved(&line))
                .last()
                .unwrap_or(told);
            let found = file.load().expect("a whole set").expect("there is one");
            assert!(found == kept(found.revision), "not a set that was saved");
            // What was said to be saved is; the next one may be.
            assert!(
                (told..=told + 1).contains(&found.revision),
                "{told}: {}",
                found.revision
            );
            assert!(found.revision > last, "it never goes back");
            last = found.revision;
            unfinished += usize::from(dir.path().join("policy.json.new").exists());
        }
        assert!(
            unfinished > 0,
            "killed in the middle of writing at least once"
        );
    }
}
