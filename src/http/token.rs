//! The token: the secret that allows changes.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use subtle::ConstantTimeEq;

use crate::{
    data_dir::{Obstacle, obstacle, parent, replace_file},
    model::without_mark,
};

/// The token's name in `data_dir`.
pub const FILE: &str = "token";

/// Random bytes in a generated token: too many to guess.
const BYTES: usize = 24;

/// The fewest characters that a token given from outside may have.
const SHORTEST: usize = 16;

/// The most characters that a token given from outside may have.
const LONGEST: usize = 512;

/// The bearer token (RFC 6750) that a client sends with a request that changes something. `Debug` never prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// This user cannot use the file or its directory.
    #[error(transparent)]
    Inaccessible(#[from] Obstacle),
    /// The file cannot be read or written.
    #[error(
        "cannot use the token file {path}: {source}; see that this user may read it, and write to `data_dir`"
    )]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file exists, but does not contain a token.
    #[error(
        "{path} holds no token; put one line of {SHORTEST} to {LONGEST} letters, digits or -._~+/= there, or \
         delete it to have one made"
    )]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
}

impl Token {
    /// The token in the file `given` (such as a systemd credential), if there is one, else that in `data_dir`, where it
    /// is generated if missing, readable by its owner alone.
    pub fn load(data_dir: &Path, given: Option<&Path>) -> Result<Self, TokenError> {
        match Self::existing(data_dir, given)? {
            Some(token) => Ok(token),
            None => {
                let path = data_dir.join(FILE);
                Self::make(&path, data_dir).map_err(|source| refused(path, source, true))
            }
        }
    }

    /// As [`Token::load`], but generates no token: `None` if `data_dir` has none.
    pub fn existing(data_dir: &Path, given: Option<&Path>) -> Result<Option<Self>, TokenError> {
        let own = data_dir.join(FILE);
        let path = given.unwrap_or(&own);
        match Self::read(path) {
            Ok(token) => {
                warn_of_readers(path);
                Ok(Some(token))
            }
            Err(TokenError::File { source, .. })
                if given.is_none() && source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A token that is not stored, for requests within this process.
    ///
    /// # Errors
    /// Fails if the system provides no random bytes.
    pub fn ephemeral() -> io::Result<Self> {
        let mut random = [0; BYTES];
        getrandom::fill(&mut random)?;
        Ok(Self(random.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Returns the token that [`Token::load`] would find, if this user may read it.
    pub fn find(data_dir: &Path, given: Option<&Path>) -> Option<Self> {
        Self::read(given.unwrap_or(&data_dir.join(FILE))).ok()
    }

    /// Whether this is the token, in a time that does not reveal how much of it is right.
    pub(super) fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// The token itself, to be shown to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn read(path: &Path) -> Result<Self, TokenError> {
        let text = fs::read_to_string(path).map_err(|source| refused(path.to_owned(), source, false))?;
        let token = without_mark(&text).trim_end();
        // RFC 6750, 2.1: the characters that a header can carry.
        let valid = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        if (SHORTEST..=LONGEST).contains(&token.len()) && token.chars().all(valid) {
            Ok(Self(token.to_owned()))
        } else {
            Err(TokenError::Malformed { path: path.to_owned() })
        }
    }

    /// Makes a token and its file: a power cut leaves a complete one or none.
    fn make(path: &Path, data_dir: &Path) -> io::Result<Self> {
        let token = Self::ephemeral()?;
        replace_file(path, format!("{}\n", token.0).as_bytes(), data_dir)?;
        Ok(token)
    }
}

/// Why a token cannot be used, with what this user can do about it.
fn refused(path: PathBuf, source: io::Error, writes: bool) -> TokenError {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match obstacle(parent(&path), &[&name], writes) {
        Some(obstacle) => obstacle.into(),
        None => TokenError::File { path, source },
    }
}

/// Logs a warning if users other than its owner can read the token.
fn warn_of_readers(path: &Path) {
    if let Some(warning) = readers_warning(path) {
        tracing::warn!(%warning, "the token is not secret");
    }
}

fn readers_warning(path: &Path) -> Option<String> {
    // Access for a group may be intended; access for all users is not.
    let is_open = fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o007 != 0);
    is_open.then(|| {
        format!(
            "the token {0} is open to every user of this machine; close it: chmod 600 {0}",
            path.display()
        )
    })
}

/// Returns a warning if every user of this machine can read the token that [`Token::load`] would find.
pub fn open_token(data_dir: &Path, given: Option<&Path>) -> Option<String> {
    readers_warning(given.unwrap_or(&data_dir.join(FILE)))
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let made = Token::load(dir.path(), None).unwrap();
        assert_eq!(made.reveal().len(), 2 * BYTES);
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Token::load(dir.path(), None).unwrap(), made);
        assert_ne!(Token::load(tempfile::tempdir().unwrap().path(), None).unwrap(), made);
        assert!(made.is(made.reveal()));
        assert!(!made.is("") && !made.is(&made.reveal()[1..]));
        assert_eq!(format!("{made:?}"), "Token(..)");
    }

    #[test]
    fn a_given_file_comes_first_and_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let made = Token::load(dir.path(), None).unwrap();
        let given = dir.path().join("credential");
        assert!(Token::load(dir.path(), Some(&given)).is_err());
        fs::write(&given, "from-load-credential\n").unwrap();
        let token = Token::load(dir.path(), Some(&given)).unwrap();
        assert_eq!(token.reveal(), "from-load-credential");
        assert_ne!(token, made);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_neither_replaced_nor_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (elsewhere, link) = (dir.path().join("elsewhere"), dir.path().join(FILE));
        symlink(&elsewhere, &link).unwrap();
        let error = Token::load(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("token is a symbolic link to") && error.contains("does not exist"), "{error}");
        assert!(!elsewhere.exists() && link.is_symlink());
        fs::write(&elsewhere, "a-token-of-the-owners-own").unwrap();
        assert_eq!(Token::load(dir.path(), None).unwrap().reveal(), "a-token-of-the-owners-own");
    }

    #[test]
    fn an_existing_draft_is_neither_written_nor_followed() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, dir.path().join("token.new")).unwrap();
        let made = Token::load(dir.path(), None).unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        let kept = dir.path().join(FILE);
        assert!(!kept.is_symlink() && fs::read_to_string(kept).unwrap().trim_end() == made.reveal());
        assert!(!dir.path().join("token.new").exists());
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_token() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("given");
        fs::write(&file, "\u{feff}0123456789abcdef\r\n").unwrap();
        assert_eq!(Token::load(dir.path(), Some(&file)).unwrap().reveal(), "0123456789abcdef");
    }

    #[test]
    fn a_bad_file_is_an_error_not_an_open_door() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "\n", "short", "has a space in the middle of it", "ümlaut-ümlaut-ümlaut"] {
            fs::write(dir.path().join(FILE), text).unwrap();
            assert!(matches!(Token::load(dir.path(), None), Err(TokenError::Malformed { .. })), "{text:?}");
        }
        let nowhere = dir.path().join("nowhere");
        let error = Token::load(&nowhere, None).unwrap_err().to_string();
        assert!(error.contains(&format!("there is no directory {}", nowhere.display())), "{error}");
    }
}
