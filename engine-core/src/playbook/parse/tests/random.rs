//! Whatever the text, there is an answer.

use super::*;
use proptest::prelude::*;

const VALID: &str = include_str!("../../cases/everything.yaml");

/// Pieces that mean something to YAML or to the language.
const PIECES: [&str; 30] = [
    "\n", "  ", "- ", ": ", "{", "}", "[", "]", ",", "\"", "'", "|", ">", "&a ", "*a", "<<: ",
    "!t ", "? ", "#", "%", "---\n", "...\n", "\t", "step", "next", "case", "tool", "{{ ", " }}",
    "\u{feff}",
];

fn assert_answered(text: &str) {
    let parsed = parsed(text);
    let failed = parsed.diagnostics.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(parsed.playbook.is_none(), failed);
    assert!(parsed.diagnostics.is_sorted_by_key(|found| found.position));
    assert!(parsed.diagnostics.iter().all(|found| found.position.line > 0 && found.length > 0));
}

#[test]
fn the_valid_playbook_is_valid() {
    let playbook = valid(VALID);
    assert_eq!(playbook.dialect, Dialect::Case);
    assert_eq!(parsed(VALID), parsed(VALID));
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,200}") {
        assert_answered(&text);
    }

    #[test]
    fn any_pieces_get_an_answer(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60),
    ) {
        assert_answered(&pieces.concat());
    }

    #[test]
    fn a_damaged_playbook_gets_an_answer(
        at in 0..VALID.len(),
        drop in 0..80_usize,
        piece in prop::sample::select(&PIECES[..]),
    ) {
        let keep = |index: &usize| *index < at || *index >= at + drop;
        let characters = VALID.char_indices().filter(|(index, _)| keep(index));
        let (before, after): (Vec<_>, Vec<_>) = characters.partition(|(index, _)| *index < at);
        let text = |part: Vec<(usize, char)>| part.into_iter().map(|at| at.1).collect::<String>();
        assert_answered(&format!("{}{piece}{}", text(before), text(after)));
    }
}
