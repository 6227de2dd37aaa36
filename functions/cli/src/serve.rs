//! What the HTTP API needs of this process.

mod credentials;
mod inputs;

pub(crate) use self::credentials::{Credentials, KEY, KEY_FILE};
pub(crate) use self::inputs::{Taken, Waiting};
