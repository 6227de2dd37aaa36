//! What the HTTP API needs of this process.

mod credentials;
mod inputs;
mod playbooks;

pub(crate) use self::credentials::{Credentials, KEY, KEY_FILE};
pub(crate) use self::inputs::{Taken, Waiting};
pub(crate) use self::playbooks::Playbooks;
