//! The wire of the tree beside that of the last release: nothing that a peer relies on may be gone.
//!
//! The rules are those that the tests of `telemetry-proto` hold against `released/descriptor.bin`; they
//! stand there, with a test for each.

#[path = "../../../crates/telemetry-proto/tests/released/breakage.rs"]
mod breakage;

use prost::Message;
use prost_types::FileDescriptorSet;

/// Where a package keeps the compiled description of its messages, if it has any.
pub(crate) const DESCRIPTOR: &str = "src/generated/descriptor.bin";

/// What a peer of the release `before` would misread, one sentence for each.
pub(crate) fn breakages(before: &[u8], now: &[u8]) -> Vec<String> {
    match (
        FileDescriptorSet::decode(before),
        FileDescriptorSet::decode(now),
    ) {
        (Ok(before), Ok(now)) => breakage::breakages(&before, &now),
        (Err(error), _) => vec![format!("the released descriptor cannot be read: {error}")],
        (_, Err(error)) => vec![format!("the descriptor cannot be read: {error}")],
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The descriptor of a file with one message and one method; `field` is its only field.
    pub(crate) fn descriptor(field: &str) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "syntax = \"proto3\"; package a; message Hello {{ {field} }} \
             service Greeter {{ rpc Greet(Hello) returns (Hello); }}"
        );
        std::fs::write(directory.path().join("a.proto"), text).unwrap();
        let mut compiler = protox::Compiler::new([directory.path()]).unwrap();
        compiler.open_file("a.proto").unwrap();
        compiler.encode_file_descriptor_set()
    }

    fn check(now: &str, expected: &[&str]) {
        let before = descriptor("uint32 pid = 4;");
        assert_eq!(breakages(&before, &descriptor(now)), expected);
    }

    #[test]
    fn what_is_added_is_accepted() {
        check("uint32 pid = 4; string name = 5;", &[]);
    }

    #[test]
    fn what_is_gone_renumbered_or_retyped_is_named() {
        check("", &["field .a.Hello.pid was removed, it was uint32 = 4"]);
        check(
            "uint32 pid = 5;",
            &["field .a.Hello.pid was uint32 = 4 and is uint32 = 5"],
        );
        check(
            "uint64 pid = 4;",
            &["field .a.Hello.pid was uint32 = 4 and is uint64 = 4"],
        );
    }

    #[test]
    fn what_is_no_descriptor_is_said_to_be_none() {
        let found = breakages(b"nonsense", &descriptor(""));
        assert!(
            found[0].starts_with("the released descriptor cannot be read"),
            "{found:?}"
        );
    }
}
