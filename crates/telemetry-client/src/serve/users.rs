//! Whether the system shows who somebody is; what a number of a user says is core's rule.

use std::fs;
use std::sync::OnceLock;

use telemetry_core::Users;

/// Whether the number of a user stands for any of those that the system cannot show to this process.
pub(super) fn is_hidden(uid: u32) -> bool {
    static USERS: OnceLock<Users> = OnceLock::new();
    let users = USERS.get_or_init(|| {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Users::of(
            &read("/proc/self/uid_map"),
            &read("/proc/sys/kernel/overflowuid"),
        )
    });
    users.hides(uid, rustix::process::geteuid().as_raw())
}
