//! What a change must pass of all this: the command builds static and runs alone, and the wheel works where
//! there is nothing but Python. How fast they are does not matter here.

use std::path::Path;

use crate::{failure::Failure, process, python, workspace};

use super::{TRIAL, build::Build, facts::Facts, musl, wheel};

/// What is run in a Python that has the wheel and nothing else.
const TRY: &str = "import telemetry_py._native
telemetry_py.emit('tool.result_size', {'bytes': 512}, {'tool': 'try'})
assert telemetry_py._native.__file__.endswith('.so'), 'not the native module'
print('telemetry_py', telemetry_py.__version__)";

/// Both; the wheel from what the Python tests have built.
pub(crate) fn quick() -> Result<(), Failure> {
    let facts = Facts::of(workspace::root())?;
    let build = Build::new(&facts, TRIAL)?;
    musl::run_alone(&musl::build(&build)?)?;
    let environment = python::ready()?;
    let wheel = wheel::of_tests(&environment)?;
    let clean = tempfile::tempdir().map_err(Failure::file("create", &std::env::temp_dir()))?;
    try_wheel(&wheel, clean.path())
}

/// Installs `wheel` into a new environment in `directory`, without any network, and tries it.
fn try_wheel(wheel: &Path, directory: &Path) -> Result<(), Failure> {
    process::run(
        process::command("python3")
            .args(["-m", "venv"])
            .arg(directory),
    )?;
    let python = directory.join("bin/python");
    let run = |arguments: &[&str], last: &Path| {
        let mut python = process::command(&python);
        python.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        // Not in the root, where a folder could be imported in place of the package.
        python.current_dir(directory).args(arguments).arg(last);
        process::run(&mut python)
    };
    run(&["-m", "pip", "install", "--quiet", "--no-index"], wheel)?;
    let program = directory.join("try.py");
    std::fs::write(&program, TRY).map_err(Failure::file("write", &program))?;
    run(&[], &program)
}
