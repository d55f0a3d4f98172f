//! The lowest Rust that the manifests promise: the published crates are checked with it.

use std::path::Path;

use crate::{failure::Failure, metadata, process};

use super::packages::Package;

/// What is wrong with `packages` under the lowest Rust; nothing, with a line that says so, where rustup does
/// not have it.
pub(crate) fn fault(root: &Path, packages: &[Package]) -> Result<Option<String>, Failure> {
    let metadata = metadata::own(root)?;
    let promised = metadata::list(&metadata, "packages")
        .find(|package| {
            packages
                .iter()
                .any(|it| package["name"] == it.name.as_str())
        })
        .and_then(|package| package["rust_version"].as_str());
    let Some(promised) = promised else {
        return Ok(Some(
            "`rust-version` is in no manifest; it is the lowest Rust that is promised".to_owned(),
        ));
    };
    let release = release(promised);
    let mut rustup = process::command("rustup");
    let listed = rustup.args(["toolchain", "list"]).output();
    let listed = listed.map_or_else(|_| Vec::new(), |output| output.stdout);
    let listed = String::from_utf8_lossy(&listed);
    let Some(toolchain) = toolchain(&release, &listed) else {
        println!("skipped: rustup has no {release}, so nothing is checked with the lowest Rust");
        return Ok(None);
    };

    let target = Path::new(metadata["target_directory"].as_str().unwrap_or("target"));
    let mut cargo = process::command("rustup");
    cargo
        .current_dir(root)
        .env("CARGO_TARGET_DIR", target.join("msrv"))
        .args(["run", toolchain, "cargo", "check", "--locked", "--quiet"]);
    cargo.args(arguments(packages));
    Ok(process::run(&mut cargo)
        .err()
        .map(|failure| format!("with Rust {promised}, which is promised: {failure}")))
}

/// `packages` with every feature that a user may choose.
fn arguments(packages: &[Package]) -> Vec<String> {
    let mut arguments = vec!["--no-default-features".to_owned()];
    for Package { name, features, .. } in packages {
        arguments.extend(["--package".to_owned(), name.clone()]);
        for feature in features {
            arguments.extend(["--features".to_owned(), format!("{name}/{feature}")]);
        }
    }
    arguments
}

/// `1.88` is the first release of that name.
fn release(promised: &str) -> String {
    match promised.matches('.').count() {
        1 => format!("{promised}.0"),
        _ => promised.to_owned(),
    }
}

/// The toolchain of `release` among those that rustup lists, one a line.
fn toolchain<'a>(release: &str, listed: &'a str) -> Option<&'a str> {
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|name| name.split('-').next() == Some(release))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_toolchain_is_that_of_the_promised_release() {
        let listed =
            "stable-x86_64-unknown-linux-gnu (active, default)\n1.88.0-x86_64-unknown-linux-gnu\n";
        assert_eq!(
            toolchain(&release("1.88"), listed),
            Some("1.88.0-x86_64-unknown-linux-gnu")
        );
        assert_eq!(toolchain(&release("1.88.1"), listed), None);
        assert_eq!(toolchain(&release("1.89"), listed), None);
        assert_eq!(toolchain(&release("1.88"), ""), None);
    }
}
