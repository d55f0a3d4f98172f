//! `gen-proto`: the Rust code and the descriptor set of the wire.
//!
//! Reads `proto/snakepit_bridge.proto` with a compiler written in Rust, so no `protoc` is needed,
//! and writes `crates/telemetry-proto/src/generated/`, which belongs to it alone.

use std::fs;

use prost::Message;
use protox::Compiler;

use crate::{artifacts::Artifacts, failure::Failure, workspace};

const PROTO_DIR: &str = "proto";
const PROTO_FILE: &str = "snakepit_bridge.proto";
const PACKAGE: &str = "snakepit.bridge";
const GENERATED: &str = "crates/telemetry-proto/src/generated";

/// Writes the generated files, or with `check` fails if they are not fresh.
pub(crate) fn run(check: bool) -> Result<(), Failure> {
    generate()?.apply(workspace::root(), check, "cargo xtask gen-proto")
}

/// Everything in `generated/`, made in memory from the proto file.
///
/// # Errors
/// When the proto file does not compile; the message names the line.
pub(crate) fn generate() -> Result<Artifacts, Failure> {
    let source = workspace::path(PROTO_DIR).join(PROTO_FILE);
    let refused = |reason: String| Failure::Generator {
        path: source.clone(),
        reason,
    };

    let mut compiler = Compiler::new([workspace::path(PROTO_DIR)])
        .map_err(|error| refused(format!("{error:?}")))?;
    compiler.include_imports(true).include_source_info(true);
    compiler
        .open_file(PROTO_FILE)
        .map_err(|error| refused(format!("{error:?}")))?;
    let described = compiler.file_descriptor_set();

    let mut artifacts = Artifacts::default();
    artifacts.own(GENERATED);

    // Comments are of use to the code generator and to nobody who reads the descriptor later: left
    // out, a reworded comment does not change the binary file.
    let mut bare = described.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    artifacts.insert(format!("{GENERATED}/descriptor.bin"), bare.encode_to_vec());

    // The code generator can only write to a directory, so it gets one of its own.
    let scratch = tempfile::tempdir().map_err(Failure::file("create", &std::env::temp_dir()))?;
    tonic_prost_build::configure()
        .out_dir(scratch.path())
        .emit_rerun_if_changed(false)
        // Stubs for any transport; the ready-made TCP `connect` would pull in all of tonic's.
        .build_transport(false)
        .client_mod_attribute(PACKAGE, r#"#[cfg(feature = "grpc-client")]"#)
        .server_mod_attribute(PACKAGE, r#"#[cfg(feature = "grpc-server")]"#)
        .compile_fds(described)
        .map_err(|error| refused(error.to_string()))?;
    for entry in fs::read_dir(scratch.path()).map_err(Failure::file("list", scratch.path()))? {
        let path = entry.map_err(Failure::file("list", scratch.path()))?.path();
        let text = fs::read_to_string(&path).map_err(Failure::file("read", &path))?;
        if let Some(name) = path.file_name().filter(|_| !text.trim().is_empty()) {
            artifacts.insert(format!("{GENERATED}/{}", name.display()), text);
        }
    }
    Ok(artifacts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_code_is_what_the_proto_file_generates() {
        let differences = generate().unwrap().compare(workspace::root()).unwrap();
        assert_eq!(differences, [], "run `cargo xtask gen-proto`");
    }
}
