//! Messages that nobody could handle, kept for people: `dead-letters/{queue}/{message id}`.

use engine_core::payload::sha256_hex;
use engine_core::ports::PortError;

use super::Aws;
use super::objects::Objects;

/// Characters of a name that are used: far above any that AWS gives.
const NAME_CHARS_MAX: usize = 200;

/// The place of dead letters.
#[derive(Clone)]
pub struct DeadLetterStore {
    objects: Objects,
}

impl Aws {
    /// Where dead letters are kept.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetterStore {
        DeadLetterStore { objects: self.clients.objects.clone() }
    }
}

impl DeadLetterStore {
    /// Keeps the body of a message as it was; whether it was not there yet.
    ///
    /// # Errors
    /// `Refused` or `Unavailable`.
    pub async fn keep(&self, queue: &str, id: &str, body: &str) -> Result<bool, PortError> {
        let bytes = body.as_bytes();
        self.objects.create(&Self::key(queue, id), bytes, &sha256_hex(bytes)).await
    }

    /// The key in the bucket of a message that is kept.
    #[must_use]
    pub fn key(queue: &str, id: &str) -> String {
        format!("dead-letters/{}/{}", name(queue), name(id))
    }
}

/// A name of which nothing has to be escaped, and that is no path.
fn name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = text.chars().take(NAME_CHARS_MAX).map(plain).collect();
    if name.trim_matches('.').is_empty() { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_readable_and_never_leaves_its_folder() {
        #[rustfmt::skip]
        let cases = [
            ("demo-events-dead.fifo", "059f36b4-87a3", "dead-letters/demo-events-dead.fifo/059f36b4-87a3"),
            ("..",                    "../../x",       "dead-letters/_/.._.._x"),
            ("",                      "a b?c#d",       "dead-letters/_/a_b_c_d"),
        ];
        for (queue, id, expect) in cases {
            assert_eq!(DeadLetterStore::key(queue, id), expect);
        }
        assert!(DeadLetterStore::key("q", &"x".repeat(5_000)).len() < 256);
    }
}
