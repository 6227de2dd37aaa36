//! What every payload store checks: names before they are used, bytes before they are believed.

use engine_core::payload::{PayloadRef, sha256_hex};
use engine_core::ports::{PortError, PortErrorKind};

/// The reference's name, if it is `{number}/{sha256}`: nothing else can become a path.
pub(crate) fn checked(reference: &PayloadRef, kind: PortErrorKind) -> Result<&str, PortError> {
    let is_hex = |text: &str| {
        text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_number = |text: &str| {
        (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    match reference.uri.split_once('/') {
        Some((execution_id, sha256))
            if is_number(execution_id) && is_hex(sha256) && sha256 == reference.sha256 =>
        {
            Ok(&reference.uri)
        }
        _ => {
            let message = format!("`{}` is not `EXECUTION_ID/SHA256`", reference.uri);
            Err(PortError::new(kind, message))
        }
    }
}

/// The bytes, if they are what the reference names.
pub(crate) fn verified(reference: &PayloadRef, bytes: Vec<u8>) -> Result<Vec<u8>, PortError> {
    if sha256_hex(&bytes) == reference.sha256 {
        return Ok(bytes);
    }
    let message = format!(
        "payload `{}` is not what was stored: {} bytes of another checksum, {} were expected",
        reference.uri,
        bytes.len(),
        reference.bytes
    );
    Err(PortError::new(PortErrorKind::Corrupt, message))
}
