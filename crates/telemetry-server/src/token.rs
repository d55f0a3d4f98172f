//! Tokens in files: one that somebody else put there is read, one of our own is made when it is missing.
//!
//! Nothing here knows what a token opens.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use telemetry_core::{Token, TokenError};

use crate::peer_user;
use crate::secret_file::{self, SecretFileError};

/// Mode of a file that we make.
const MODE: u32 = 0o600;
/// Who else may do anything with it.
const OTHERS: u32 = 0o077;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// The file cannot be read or made.
    #[error("token file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in it is none.
    #[error("token file {}: {source}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenError,
    },
    /// Others may read it or write to it.
    #[error("token file {0}")]
    Exposed(#[from] SecretFileError),
    /// Others could have read our own, or written it.
    #[error(
        "token file {} {problem}; remove it, and a new one is made",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// To whom.
        problem: String,
    },
}

/// Reads a token that somebody else keeps there.
///
/// # Errors
/// [`TokenFileError`], also of a file that every user may read, or others write.
pub(crate) fn read(path: &Path) -> Result<Token, TokenFileError> {
    read_open(path).map(|(token, _file)| token)
}

/// The token, and what is known of the file that it was read from.
fn read_open(path: &Path) -> Result<(Token, fs::Metadata), TokenFileError> {
    let failed = |source| io_error(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    secret_file::check_open(path, &found)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let token = text.parse().map_err(|source| TokenFileError::Token {
        path: path.to_owned(),
        source,
    })?;
    Ok((token, found))
}

/// Reads a token that somebody else keeps there, and the number of that user.
///
/// # Errors
/// [`TokenFileError`].
#[cfg(feature = "config")]
pub(crate) fn read_with_owner(path: &Path) -> Result<(Token, u32), TokenFileError> {
    let (token, file) = read_open(path)?;
    Ok((token, file.uid()))
}

/// Reads the token of our own that is kept there, and makes one first where there is none. Of two that make
/// it at once, both have the same.
///
/// # Errors
/// [`TokenFileError`], also of a file that somebody else may read.
pub(crate) fn read_or_make(path: &Path) -> Result<Token, TokenFileError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path, &random(path)?)?,
        found => check(path, &found.map_err(|source| io_error(path, source))?)?,
    }
    read(path)
}

/// Makes the file again of a token that is in use, unless one is there.
///
/// # Errors
/// [`TokenFileError`].
pub(crate) fn restore(path: &Path, token: &Token) -> Result<(), TokenFileError> {
    make(path, token)
}

fn random(path: &Path) -> Result<Token, TokenFileError> {
    let mut bytes = [0; 32];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| io_error(path, io::Error::other(error.to_string())))?;
    Ok(Token::of_bytes(bytes))
}

/// Makes a file with a token; it is there whole or not at all.
fn make(path: &Path, token: &Token) -> Result<(), TokenFileError> {
    let failed = |source| io_error(path, source);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = path.with_file_name(name);
    let written = write(&draft, token);
    // Unlike a rename it leaves the one that is there.
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    let _gone = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked.map_err(failed),
    }
}

fn write(path: &Path, token: &Token) -> io::Result<()> {
    let _left_by_a_dead_one = fs::remove_file(path);
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)?;
    // Whatever the umask says.
    file.set_permissions(Permissions::from_mode(MODE))?;
    writeln!(file, "{}", token.reveal())
}

fn check(path: &Path, file: &fs::Metadata) -> Result<(), TokenFileError> {
    let problem = if !file.is_file() {
        "is no file".to_owned()
    } else if peer_user::is_hidden_user(file.uid()) {
        peer_user::HIDDEN.to_owned()
    } else if !peer_user::is_own(file.uid()) {
        format!("belongs to user {}", file.uid())
    } else if file.mode() & OTHERS != 0 {
        format!(
            "has mode {:04o}, which lets others in",
            file.mode() & 0o7777
        )
    } else {
        return Ok(());
    };
    Err(TokenFileError::Open {
        path: path.to_owned(),
        problem,
    })
}

fn io_error(path: &Path, source: io::Error) -> TokenFileError {
    let path = path.to_owned();
    TokenFileError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_made_once_and_for_us_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let first = read_or_make(&path).unwrap();
        assert_eq!(read_or_make(&path).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, MODE);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no draft is left"
        );
        make(&path, &random(&path).unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), first, "nobody is overtaken");
        fs::remove_file(&path).unwrap();
        restore(&path, &first).unwrap();
        assert_eq!(read_or_make(&path).unwrap(), first);
    }

    #[test]
    fn one_that_was_given_is_read_if_only_a_group_may_read_it_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "0123456789abcdef").unwrap();
        let set = |mode| fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        for mode in [0o600, 0o440] {
            set(mode);
            read(&path).unwrap();
        }
        set(0o644);
        let refused = read(&path).expect_err("all can read it").to_string();
        let wanted = format!("token file {} has mode 0644", path.display());
        assert!(refused.starts_with(&wanted), "{refused}");
        assert!(refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn one_that_others_can_read_or_that_is_none_is_refused_without_a_word_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "0123456789abcdef").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refused = read_or_make(&path)
            .expect_err("others can read it")
            .to_string();
        assert!(refused.contains("0640"), "{refused}");
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(MODE)).unwrap();
        let refused = read_or_make(&path)
            .expect_err("it is too short")
            .to_string();
        assert!(
            refused.contains("6 bytes") && !refused.contains("secret"),
            "{refused}"
        );
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let refused = read_or_make(&path).expect_err("no file").to_string();
        assert!(refused.contains("is no file"), "{refused}");
    }
}
