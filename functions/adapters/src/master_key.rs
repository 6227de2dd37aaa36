//! The key that credentials are encrypted with: given in the environment or in a file, never invented.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use engine_core::payload::sha256_hex;
use engine_core::ports::{PortError, PortErrorKind};

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a nonce: random, as far fewer than 2^32 values are ever sealed with one key.
const NONCE_BYTES: usize = 12;
/// Bytes of a key file that are read: a key as text, and some white space.
const FILE_BYTES_MAX: u64 = 1 << 10;
/// How a key is made.
const ADVICE: &str = "make one with `openssl rand -base64 32`";

/// 256 bits. No `Debug`, no `Clone`: it stays where it is.
pub struct MasterKey {
    cipher: Aes256Gcm,
    id: String,
}

/// A sealed value, as it is stored.
pub(crate) struct Sealed {
    pub(crate) nonce: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
}

impl MasterKey {
    /// A key as base64 or hexadecimal text.
    ///
    /// # Errors
    /// `Refused` if it is no text of 32 bytes, or all of them are zero.
    pub fn parse(text: &str) -> Result<Self, PortError> {
        let text = text.trim();
        let bytes = unhex(text).or_else(|| {
            let text = text.trim_end_matches('=');
            STANDARD_NO_PAD.decode(text).or_else(|_other| URL_SAFE_NO_PAD.decode(text)).ok()
        });
        match bytes.filter(|bytes| bytes.len() == KEY_BYTES) {
            None => Err(refused(format!(
                "the master key must be {KEY_BYTES} bytes as base64 or hexadecimal text; {ADVICE}"
            ))),
            Some(bytes) if bytes.iter().all(|byte| *byte == 0) => {
                Err(refused(format!("the master key is all zeros; {ADVICE}")))
            }
            Some(bytes) => Self::of(&bytes),
        }
    }

    /// A key in a file that its owner alone may read.
    ///
    /// # Errors
    /// `Refused` if others may read it, if it cannot be read, or as [`MasterKey::parse`].
    pub fn read(path: &Path) -> Result<Self, PortError> {
        let shown = path.display();
        private(path)?;
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
            .map_err(|error| {
                let message = format!("the master key file `{shown}` cannot be read");
                PortError::caused(PortErrorKind::Refused, message, error)
            })?;
        Self::parse(&text).map_err(|error| refused(format!("master key file `{shown}`: {error}")))
    }

    /// A key for values that end with the process.
    ///
    /// # Errors
    /// `Unavailable` if the system has no chance to give.
    pub fn random() -> Result<Self, PortError> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(no_chance)?;
        Self::of(&bytes)
    }

    fn of(bytes: &[u8]) -> Result<Self, PortError> {
        let cipher = Aes256Gcm::new_from_slice(bytes)
            .map_err(|_length| refused(format!("the master key must be {KEY_BYTES} bytes")))?;
        let hash = sha256_hex(&[b"noetl-lambda master key", bytes].concat());
        Ok(Self { cipher, id: hash.chars().take(16).collect() })
    }

    /// Tells keys apart without telling one.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Encrypts a value that belongs to `name`.
    pub(crate) fn seal(&self, name: &str, value: &[u8]) -> Result<Sealed, PortError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(no_chance)?;
        let payload = Payload { msg: value, aad: name.as_bytes() };
        let bytes = self.cipher.encrypt(&nonce.into(), payload);
        let bytes =
            bytes.map_err(|_opaque| refused(format!("credential `{name}` cannot be encrypted")))?;
        Ok(Sealed { nonce: nonce.to_vec(), bytes })
    }

    /// Decrypts what was sealed with this key for this name; none if either is another, or a bit is.
    pub(crate) fn open(&self, name: &str, sealed: &Sealed) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = sealed.nonce.as_slice().try_into().ok()?;
        let payload = Payload { msg: &sealed.bytes, aad: name.as_bytes() };
        self.cipher.decrypt(&nonce.into(), payload).ok()
    }
}

/// Refuses a file that others may read.
#[cfg(unix)]
fn private(path: &Path) -> Result<(), PortError> {
    use std::os::unix::fs::PermissionsExt as _;
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|error| {
        let message = format!("the master key file `{shown}` cannot be read");
        PortError::caused(PortErrorKind::Refused, message, error)
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(refused(format!(
            "the master key file `{shown}` may be read by others (mode {mode:03o}); run `chmod 600 {shown}`"
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn private(path: &Path) -> Result<(), PortError> {
    fs::metadata(path).map(drop).map_err(|error| {
        let message = format!("the master key file `{}` cannot be read", path.display());
        PortError::caused(PortErrorKind::Refused, message, error)
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len() == KEY_BYTES * 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    if is_hex { (0..text.len()).step_by(2).map(pair).collect() } else { None }
}

fn no_chance(error: getrandom::Error) -> PortError {
    let message = "the system gives no random bytes";
    PortError::caused(PortErrorKind::Unavailable, message, error)
}

fn refused(message: String) -> PortError {
    PortError::new(PortErrorKind::Refused, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const OTHER: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn a_key_is_32_bytes_in_a_file_of_its_owner() {
        let is_refused = |text: &str| MasterKey::parse(text).err().map(|error| error.to_string());
        assert_eq!(is_refused(KEY), None);
        assert_eq!(is_refused(&format!("{OTHER}\n")), None);
        for text in ["", "short", &KEY[4..], &"0".repeat(64), &format!("{OTHER}00")] {
            assert!(is_refused(text).is_some_and(|error| error.contains("openssl rand")), "{text}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, KEY).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            for (mode, expect) in
                [(0o644, Some("chmod 600")), (0o660, Some("mode 660")), (0o600, None)]
            {
                let permissions = fs::Permissions::from_mode(mode);
                fs::set_permissions(&path, permissions).unwrap();
                let error = MasterKey::read(&path).err().map(|error| error.to_string());
                let as_expected = match (&error, expect) {
                    (Some(error), Some(expect)) => error.contains(expect),
                    (error, expect) => error.is_none() && expect.is_none(),
                };
                assert!(as_expected, "{mode:o} {error:?}");
            }
        }
        assert!(MasterKey::read(&folder.path().join("none")).is_err());
    }
}
