//! What happens, for people and for programs.

use std::io::Write as _;

use serde::Serialize;

use crate::render::note;

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Happening {
    /// A batch was with its function.
    Batch {
        queue: String,
        function: String,
        messages: usize,
        /// Those that are done; the others are given out again.
        done: usize,
        problem: Option<String>,
    },
    /// A queue cannot be read; it is tried again.
    Unreachable { queue: String, problem: String },
    /// It can again.
    Reachable { queue: String },
    /// A schedule called its function.
    Scheduled { function: String, problem: Option<String> },
    /// A request was with its function.
    Request { function: String, method: String, path: String, status: u16, problem: Option<String> },
}

impl Happening {
    /// What a person wants to know at once; nothing if all went well.
    fn warning(&self) -> Option<String> {
        match self {
            Self::Batch { queue, messages, done, problem, .. } => {
                let kept = messages - done;
                let back = format!("{kept} of {messages} messages of `{queue}` come back");
                match problem {
                    Some(problem) if kept > 0 => Some(format!("{problem}; {back}")),
                    Some(problem) => Some(format!("`{queue}`: {problem}")),
                    None => (kept > 0).then_some(back),
                }
            }
            Self::Unreachable { queue, problem } => {
                Some(format!("`{queue}` is out of reach: {problem}"))
            }
            Self::Reachable { queue } => Some(format!("`{queue}` can be read again")),
            Self::Scheduled { problem, .. } => problem.clone(),
            Self::Request { method, path, status, problem, .. } => {
                problem.as_ref().map(|problem| format!("{method} {path}: {status}: {problem}"))
            }
        }
    }
}

/// Is told whatever happens.
pub(crate) trait Watch: Send + Sync {
    fn saw(&self, what: &Happening);
}

/// Tells people what went wrong, on standard error; or programs everything, a line of JSON each.
pub(crate) struct Terminal {
    pub(crate) json: bool,
}

impl Watch for Terminal {
    fn saw(&self, what: &Happening) {
        if !self.json {
            if let Some(warning) = what.warning() {
                note(warning);
            }
        } else if let Ok(line) = serde_json::to_string(what) {
            // Nobody is left to tell if standard output is closed.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(done: usize, problem: Option<&str>) -> Happening {
        let (queue, function) = ("q".to_owned(), "f".to_owned());
        Happening::Batch { queue, function, messages: 3, done, problem: problem.map(str::to_owned) }
    }

    #[test]
    fn people_are_told_what_went_wrong_and_nothing_else() {
        #[rustfmt::skip]
        let cases = [
            (batch(3, None),                None),
            (batch(1, None),                Some("2 of 3 messages of `q` come back")),
            (batch(0, Some("`f` failed")),  Some("`f` failed; 3 of 3 messages of `q` come back")),
            (batch(3, Some("not deleted")), Some("`q`: not deleted")),
            (Happening::Scheduled { function: "f".to_owned(), problem: None }, None),
            (Happening::Reachable { queue: "q".to_owned() }, Some("`q` can be read again")),
        ];
        for (happening, expect) in cases {
            assert_eq!(happening.warning().as_deref(), expect, "{happening:?}");
        }
    }

    #[test]
    fn programs_are_told_everything() {
        let line = serde_json::to_string(&batch(3, None)).unwrap();
        let expect =
            r#"{"event":"batch","queue":"q","function":"f","messages":3,"done":3,"problem":null}"#;
        assert_eq!(line, expect);
    }
}
