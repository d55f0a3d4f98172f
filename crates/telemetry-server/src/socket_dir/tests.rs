//! Directories that are ours, that others may enter, and that somebody else can reach into.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn created_directory_is_private() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("a/b");
    ensure_private(&dir).unwrap();
    assert_eq!(mode(&dir), 0o700);
    ensure_private(&dir).unwrap();
}

#[test]
fn directory_that_others_may_write_to_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = ensure_private(temporary.path()).unwrap_err().to_string();
    assert!(refused.ends_with("has mode 0777: others may write to it; run `chmod 700` on it"));
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_for_other_users_is_open_and_closed_to_their_writing() {
    let temporary = tempfile::tempdir().unwrap();
    set_mode(temporary.path(), 0o755);
    let dir = temporary.path().join("a/b");
    ensure_shared(&dir).unwrap();
    for dir in [dir.as_path(), dir.parent().unwrap()] {
        assert_eq!(mode(dir), 0o755, "{dir:?}");
    }
    ensure_shared(&dir).unwrap();
    for refused in [0o777, 0o775] {
        set_mode(&dir, refused);
        let said = ensure_shared(&dir).unwrap_err().to_string();
        assert!(said.contains("other users may write to it"), "{said}");
        assert!(said.contains("run `chmod 755` on it"), "{said}");
    }
}

#[test]
fn whoever_is_kept_out_on_the_way_is_told_where() {
    let temporary = tempfile::tempdir().unwrap();
    set_mode(temporary.path(), 0o755);
    let (closed, dir) = (temporary.path().join("a"), temporary.path().join("a/b/c"));
    ensure_shared(&dir).unwrap();
    set_mode(&closed, 0o750);
    let said = ensure_shared(&dir).unwrap_err().to_string();
    let wanted = format!("other users cannot enter {closed:?}, which has mode 0750");
    assert!(said.starts_with(&wanted), "{said}");
    // A link that everybody follows, to a place that is closed.
    let open = temporary.path().join("open");
    std::os::unix::fs::symlink(closed.join("b"), &open).unwrap();
    let said = ensure_shared(&open.join("c")).unwrap_err().to_string();
    assert!(said.starts_with(&wanted), "{said}");
    set_mode(&closed, 0o711);
    ensure_shared(&open.join("c")).unwrap();
}

#[test]
fn who_may_put_something_else_on_the_way_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    set_mode(temporary.path(), 0o755);
    let (above, dir) = (temporary.path().join("a"), temporary.path().join("a/b/c"));
    ensure_shared(&dir).unwrap();
    let refused = |dir: &Path, wanted: &str| {
        let said = ensure_shared(dir).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{above:?} {wanted}")), "{said}");
    };
    let link = temporary.path().join("link");
    std::os::unix::fs::symlink("a/../a/b", &link).unwrap();
    for dir in [&dir, &link.join("c")] {
        for mode in [0o777, 0o775] {
            set_mode(&above, mode);
            refused(dir, "has mode 07");
        }
        // As /tmp.
        set_mode(&above, 0o1777);
        ensure_shared(dir).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&above, Some(1_234), None).unwrap();
            refused(dir, "belongs to user 1234");
            std::os::unix::fs::chown(&above, Some(0), None).unwrap();
        }
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(&link, Some(1_234), None).unwrap();
        let said = ensure_shared(&link.join("c")).unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("{link:?} belongs to user 1234")),
            "{said}"
        );
    }
}

#[test]
fn a_directory_of_roots_is_shared_and_one_of_a_third_user_is_not() {
    if !rustix::process::geteuid().is_root() {
        // Only root can give a directory away.
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    set_mode(temporary.path(), 0o755);
    let dir = temporary.path().join("a");
    ensure_shared(&dir).unwrap();
    std::os::unix::fs::chown(&dir, Some(1_234), None).unwrap();
    let said = ensure_shared(&dir).unwrap_err().to_string();
    assert!(said.contains("belongs to user 1234"), "{said}");
}

#[test]
fn link_and_file_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let link = temporary.path().join("link");
    std::os::unix::fs::symlink(temporary.path(), &link).unwrap();
    let refused = ensure_private(&link).unwrap_err().to_string();
    assert!(refused.ends_with("is a symbolic link, not a directory; name the directory itself"));
    let file = temporary.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        check_private(&file),
        Err(SocketDirError::NotADirectory { .. })
    ));
}

#[test]
fn socket_path_is_limited_to_what_the_system_binds() {
    let dir = PathBuf::from(format!("/{}", "d".repeat(100)));
    assert_eq!(socket_path(&dir, "12345").unwrap().as_os_str().len(), 107);
    let refused = socket_path(&dir, "123456").unwrap_err().to_string();
    assert!(
        refused.contains("has 108 bytes, the system allows 107"),
        "{refused}"
    );
}
