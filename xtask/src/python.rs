//! The project's own Python: an environment in `target/.venv` with the native module in it.
//!
//! Not a command; `test` and `demo` call [`ready`], `bench` calls [`ready_for_benchmarks`], `test` also
//! [`ready_for_apps`], `release` [`ready_for_artifacts`], and they run the interpreter they get. Makes the environment with `venv`, installs the packages of a
//! requirements file with pip, builds and installs `telemetry_py` with maturin. Each step is skipped
//! when nothing it depends on has changed. Never touches the machine's own Python packages.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{failure::Failure, process, workspace};

/// The environment, below the root.
const DIRECTORY: &str = "target/.venv";
/// What maturin builds goes here: in cargo's own directory it would undo cargo's cache.
const MATURIN_TARGET: &str = "target/maturin";
/// Manifest of the native module.
const MANIFEST: &str = "crates/telemetry-py/Cargo.toml";
/// Packages of the environment.
const REQUIREMENTS: &str = "crates/telemetry-py/requirements-test.txt";
/// Oldest Python (3.x) that the package supports.
const OLDEST_MINOR: u32 = 10;
/// One optimised build serves tests and demo alike.
const PROFILE: &str = "demo";
/// The environment of the benchmarks: what they compare with is not for the tests to import.
const BENCHMARK_DIRECTORY: &str = "target/.venv-bench";
/// Benchmarks measure what is released.
const BENCHMARK_PROFILE: &str = "release";
/// The environment of the tests with real servers and queues.
const APPS_DIRECTORY: &str = "target/.venv-apps";
/// Their packages.
const APPS_REQUIREMENTS: &str = "crates/telemetry-py/requirements-apps.txt";
/// Those of their packages that need a compiler.
const APPS_COMPILED: &str = "crates/telemetry-py/requirements-apps-compiled.txt";
/// The environment of what packs the Python package for others.
const ARTIFACTS_DIRECTORY: &str = "target/.venv-artifacts";
/// Its packages.
const ARTIFACTS_REQUIREMENTS: &str = "crates/telemetry-py/requirements-artifacts.txt";
/// Where the package for the benchmarks is put together.
const WHEELS: &str = "target/maturin/wheels";

/// A Python environment in which `import telemetry_py` works.
#[derive(Debug)]
pub(crate) struct Environment {
    /// The environment's root: `bin/` and `lib/` are below it.
    directory: PathBuf,
    /// What pip installs into it, below the root of the workspace.
    requirements: &'static str,
}

/// The environment, made or brought up to date, with the native module built and installed.
///
/// Takes a second or two when nothing has changed, a few minutes the first time.
pub(crate) fn ready() -> Result<Environment, Failure> {
    let environment = Environment::with_packages(DIRECTORY, REQUIREMENTS)?;
    environment.install_native_module()?;
    Ok(environment)
}

/// As [`ready`], with the peers in `requirements` and with the native module as it is released; as the tests
/// have it, if it only has to be `quick`.
///
/// It is an environment of its own, and the package is copied into it, so the tests keep theirs.
pub(crate) fn ready_for_benchmarks(
    requirements: &'static str,
    quick: bool,
) -> Result<Environment, Failure> {
    let maker = Environment::with_packages(DIRECTORY, REQUIREMENTS)?;
    let environment = Environment::with_packages(BENCHMARK_DIRECTORY, requirements)?;
    let profile = if quick { PROFILE } else { BENCHMARK_PROFILE };
    environment.install_wheel(&maker, profile)?;
    Ok(environment)
}

/// As [`ready`], with the servers and queues that programs run in, and the same native module.
///
/// What needs a compiler is installed where there is one; its tests say that they are skipped.
pub(crate) fn ready_for_apps() -> Result<Environment, Failure> {
    let maker = ready()?;
    let environment = Environment::with_packages(APPS_DIRECTORY, APPS_REQUIREMENTS)?;
    environment.try_to_compile(APPS_COMPILED)?;
    environment.link_package(&maker)?;
    Ok(environment)
}

/// The environment of what packs the Python package; the package is not in it.
pub(crate) fn ready_for_artifacts() -> Result<Environment, Failure> {
    Environment::with_packages(ARTIFACTS_DIRECTORY, ARTIFACTS_REQUIREMENTS)
}

impl Environment {
    /// The environment in `directory` with exactly what `requirements` asks for; both are below the
    /// root.
    fn with_packages(directory: &str, requirements: &'static str) -> Result<Self, Failure> {
        let environment = Self {
            directory: workspace::path(directory),
            requirements,
        };
        environment.install_packages()?;
        Ok(environment)
    }

    /// Absolute path of the interpreter; to be started as it is, without activation.
    pub(crate) fn python(&self) -> PathBuf {
        self.directory.join("bin/python")
    }

    /// The interpreter as a command in the root of the workspace, shielded from variables that
    /// would lead it out of the environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = process::command(self.python());
        command
            .env("VIRTUAL_ENV", &self.directory)
            // maturin refuses to choose between two environments.
            .env_remove("CONDA_PREFIX")
            .env_remove("PYTHONHOME")
            .env_remove("PYTHONPATH")
            .env("PIP_USER", "0")
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        command
    }

    /// The `PATH` with the programs of the environment first.
    pub(crate) fn path(&self) -> OsString {
        let mut path = self.directory.join("bin").into_os_string();
        if let Some(others) = env::var_os("PATH") {
            path.push(":");
            path.push(others);
        }
        path
    }

    /// Puts the package that is linked into this environment, as it was built, into a wheel in `directory`.
    pub(crate) fn build_wheel(&self, directory: &Path) -> Result<(), Failure> {
        process::run(
            self.command()
                .args(["-m", "maturin", "build", "--profile", PROFILE])
                .args(["--manifest-path", MANIFEST, "--target-dir", MATURIN_TARGET])
                .args(["--compatibility", "linux", "--interpreter"])
                .arg(self.python())
                .arg("--out")
                .arg(directory),
        )
    }

    /// Makes the environment and installs the packages, unless both are as they should be.
    fn install_packages(&self) -> Result<(), Failure> {
        let interpreter = Interpreter::find()?;
        let requirements = workspace::path(self.requirements);
        let wanted =
            fs::read_to_string(&requirements).map_err(Failure::file("read", &requirements))?;
        // The path is part of it: an environment that was moved with the tree does not work.
        let place = self.directory.display();
        let wanted = format!("# {place}\n{}\n{wanted}", interpreter.identity);

        let stamp = self.directory.join("installed.txt");
        let works = process::succeeds(self.command().args(["-c", "import pip"]));
        if works && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(());
        }

        interpreter.require_venv()?;
        // Another interpreter or an interrupted run: half an environment is not worth mending.
        if self.directory.exists() {
            fs::remove_dir_all(&self.directory)
                .map_err(Failure::file("delete", &self.directory))?;
        }
        process::run(
            process::command("python3")
                .args(["-m", "venv"])
                .arg(&self.directory),
        )?;
        process::run(
            self.command()
                .args(["-m", "pip", "install", "--quiet", "--requirement"])
                .arg(&requirements),
        )?;
        fs::write(&stamp, wanted).map_err(Failure::file("write", &stamp))
    }

    /// Builds the native module and links the package into the environment. The Python files are
    /// used where they lie, so an edit needs no new build.
    fn install_native_module(&self) -> Result<(), Failure> {
        process::run(
            self.command()
                .args(["-m", "maturin", "develop", "--profile", PROFILE])
                .args(["--manifest-path", MANIFEST, "--target-dir", MATURIN_TARGET]),
        )
    }
}

impl Environment {
    /// Installs packages that are compiled here, once; says so where that is not possible.
    fn try_to_compile(&self, requirements: &str) -> Result<(), Failure> {
        let path = workspace::path(requirements);
        let wanted = fs::read_to_string(&path).map_err(Failure::file("read", &path))?;
        let stamp = self.directory.join("compiled.txt");
        if fs::read_to_string(&stamp).is_ok_and(|tried| tried == wanted) {
            return Ok(());
        }
        let installed = process::run(
            self.command()
                .args(["-m", "pip", "install", "--quiet", "--requirement"])
                .arg(&path),
        );
        if let Err(failure) = installed {
            println!("without what {requirements} asks for: {failure}");
            return Ok(());
        }
        fs::write(&stamp, wanted).map_err(Failure::file("write", &stamp))
    }

    /// Makes the package that is linked into `other` importable here too.
    fn link_package(&self, other: &Self) -> Result<(), Failure> {
        let link = self.packages()?.join("telemetry_py.pth");
        let from = other.packages()?.join("telemetry_py.pth");
        let line = fs::read_to_string(&from).map_err(Failure::file("read", &from))?;
        fs::write(&link, line).map_err(Failure::file("write", &link))
    }

    /// The directory that pip installs into.
    fn packages(&self) -> Result<PathBuf, Failure> {
        let program = "import sysconfig; print(sysconfig.get_path('purelib'), end='')";
        let output = self.command().args(["-c", program]).output();
        match output {
            Ok(output) if output.status.success() => {
                Ok(String::from_utf8_lossy(&output.stdout).as_ref().into())
            }
            _ => Err(Failure::Machine(format!(
                "{} does not run",
                self.python().display()
            ))),
        }
    }

    /// Builds the package in `profile` with the maturin of `maker` and installs a copy of it here.
    fn install_wheel(&self, maker: &Self, profile: &str) -> Result<(), Failure> {
        let wheels = workspace::path(WHEELS);
        // Only the wheel of this build may be there to be installed.
        if wheels.exists() {
            fs::remove_dir_all(&wheels).map_err(Failure::file("delete", &wheels))?;
        }
        process::run(
            maker
                .command()
                .args(["-m", "maturin", "build", "--profile", profile])
                .args(["--manifest-path", MANIFEST, "--target-dir", MATURIN_TARGET])
                .args(["--compatibility", "linux", "--interpreter"])
                .arg(self.python())
                .arg("--out")
                .arg(&wheels),
        )?;
        process::run(
            self.command()
                .args(["-m", "pip", "install", "--quiet", "--force-reinstall"])
                .args(["--no-deps", "--no-index", "--find-links"])
                .arg(&wheels)
                .arg("telemetry_py"),
        )
    }
}

/// The machine's `python3`.
#[derive(Debug)]
struct Interpreter {
    /// Version and path; another value means another environment.
    identity: String,
}

impl Interpreter {
    /// Looks for `python3` and refuses one that is too old.
    fn find() -> Result<Self, Failure> {
        let output = process::command("python3")
            .args([
                "-c",
                "import sys; print(*sys.version_info[:3]); print(sys.executable)",
            ])
            .stderr(Stdio::inherit())
            .output();
        match output {
            Ok(output) if output.status.success() => {
                Self::accept(String::from_utf8_lossy(&output.stdout).trim())
            }
            Ok(output) => Err(Failure::Machine(format!(
                "`python3` does not run ({}); Python 3.{OLDEST_MINOR} or newer is needed",
                output.status
            ))),
            Err(error) => Err(Failure::Machine(format!(
                "`python3` cannot be started ({error}); install Python 3.{OLDEST_MINOR} or newer: \
                 apt-get install python3 python3-venv"
            ))),
        }
    }

    /// Reads what the probe printed: the three numbers of the version, then the path.
    fn accept(probe: &str) -> Result<Self, Failure> {
        let mut numbers = probe
            .split_whitespace()
            .map_while(|word| word.parse::<u32>().ok());
        let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if (major, minor) < (3, OLDEST_MINOR) {
            return Err(Failure::Machine(format!(
                "`python3` is Python {major}.{minor}; Python 3.{OLDEST_MINOR} or newer is needed, \
                 put it first on the PATH"
            )));
        }
        Ok(Self {
            identity: format!("# {}", probe.replace('\n', " ")),
        })
    }

    /// Debian ships `venv` and `ensurepip` apart from Python; without them nothing can be made.
    fn require_venv(&self) -> Result<(), Failure> {
        if process::succeeds(process::command("python3").args(["-c", "import ensurepip, venv"])) {
            return Ok(());
        }
        Err(Failure::Machine(
            "`python3` has no venv or no ensurepip, so no environment can be made: \
             apt-get install python3-venv"
                .to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recent_python_is_accepted_with_its_identity() {
        let interpreter = Interpreter::accept("3 11 7\n/usr/bin/python3").unwrap();
        assert_eq!(interpreter.identity, "# 3 11 7 /usr/bin/python3");
        assert!(Interpreter::accept("3 10 0\n/usr/bin/python3").is_ok());
    }

    #[test]
    fn an_old_python_is_refused_with_both_versions() {
        for probe in ["3 9 18\n/usr/bin/python3", "2 7 18\n/usr/bin/python", ""] {
            let text = Interpreter::accept(probe).unwrap_err().to_string();
            assert!(text.contains("3.10 or newer"), "{text}");
        }
    }

    #[test]
    fn the_requirements_pin_every_package() {
        for file in [
            REQUIREMENTS,
            APPS_REQUIREMENTS,
            APPS_COMPILED,
            ARTIFACTS_REQUIREMENTS,
        ] {
            let text = fs::read_to_string(workspace::path(file)).unwrap();
            let packages = text
                .lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            for package in packages {
                assert!(package.contains("=="), "{package} has no exact version");
            }
        }
    }
}
