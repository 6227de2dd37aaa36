//! Text of any length, kept short: its beginning, its end, and how much is missing between.

use std::collections::VecDeque;

/// Collects what a tool prints, in bounded memory.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    bytes_max: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: usize,
}

impl Capture {
    /// Keeps about `bytes_max` bytes, half from the beginning and half from the end.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, head: Vec::new(), tail: VecDeque::new(), dropped: 0 }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let half = self.bytes_max / 2;
        let (first, rest) = bytes.split_at(bytes.len().min(half.saturating_sub(self.head.len())));
        self.head.extend_from_slice(first);
        // Only the end of a long piece can stay: the rest need not pass through the queue.
        let skipped = rest.len().saturating_sub(half);
        if skipped > 0 {
            self.dropped += self.tail.len() + skipped;
            self.tail.clear();
        }
        let kept = rest.get(skipped..).unwrap_or_default();
        let excess = (self.tail.len() + kept.len()).saturating_sub(half);
        self.tail.drain(..excess);
        self.dropped += excess;
        self.tail.extend(kept);
    }

    pub(crate) fn into_text(self) -> String {
        let (head, tail) = (self.head, Vec::from(self.tail));
        if self.dropped == 0 {
            return String::from_utf8_lossy(&[head, tail].concat()).into_owned();
        }
        format!(
            "{}\n... {} bytes cut ...\n{}",
            String::from_utf8_lossy(&head),
            self.dropped,
            String::from_utf8_lossy(&tail)
        )
    }
}

/// Text of at most about `bytes_max` bytes.
pub(crate) fn cut(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    let mut capture = Capture::new(bytes_max);
    capture.push(text.as_bytes());
    capture.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_keeps_its_ends() {
        let cases = [
            ("nothing", vec![""], ""),
            ("short", vec!["ab", "cd"], "abcd"),
            ("just fits", vec!["abcdefgh", "ij"], "abcdefghij"),
            ("one piece", vec!["abcdefghijklmno"], "abcde\n... 5 bytes cut ...\nklmno"),
            (
                "pieces",
                vec!["abc", "def", "ghi", "jkl", "mno"],
                "abcde\n... 5 bytes cut ...\nklmno",
            ),
            ("a long last piece", vec!["abcdefg", "hijklmno"], "abcde\n... 5 bytes cut ...\nklmno"),
        ];
        for (name, pieces, expect) in cases {
            let mut capture = Capture::new(10);
            for piece in pieces {
                capture.push(piece.as_bytes());
            }
            assert_eq!(capture.into_text(), expect, "{name}");
        }
    }

    #[test]
    fn a_flood_stays_small() {
        let mut capture = Capture::new(1_000);
        for _ in 0..10_000 {
            capture.push(&[b'x'; 4_096]);
        }
        assert_eq!(capture.dropped, 10_000 * 4_096 - 1_000);
        assert!(capture.into_text().len() < 1_100);
    }
}
