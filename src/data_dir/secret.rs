//! Secrets that the owner keeps in files, such as systemd's credentials.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The longest secret, in bytes.
const LONGEST: u64 = 4096;

/// Reads the one line of a file that holds a secret.
///
/// # Errors
/// Fails if the file cannot be read, or holds anything but one line that an HTTP header can carry.
pub fn read_secret(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    let secret = text.trim();
    if secret.is_empty()
        || text.len() as u64 > LONGEST
        || !secret.chars().all(|c| c.is_ascii_graphic() || c == ' ')
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it does not hold one line of ASCII characters",
        ));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for (text, secret) in
            [("tk_1\n", Some("tk_1")), ("tk_1", Some("tk_1")), ("", None), ("\n", None), ("a\nb\n", None)]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(read_secret(&path).ok().as_deref(), secret, "{text:?}");
        }
        assert!(read_secret(&dir.path().join("none")).is_err());
    }
}
