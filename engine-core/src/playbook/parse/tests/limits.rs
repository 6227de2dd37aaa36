//! Every limit has a text that reaches it; the work done is counted, not timed.

use super::super::document::{self, Document};
use super::*;
use crate::limits;
use std::fmt::Write as _;

/// The only finding about the YAML of a text, and how many values were looked at before it.
fn stopped(text: &str) -> (Document, String) {
    let document = document::read(text);
    assert!(document.root.is_none());
    assert!(document.nodes <= 2 * limits::YAML_NODES_MAX, "{}", document.nodes);
    let [found] = document.found.as_slice() else { panic!("{:?}", document.found) };
    let found = format!("{}: {}", found.code, found.message);
    (document, found)
}

/// That many texts, one after the other.
fn lines(count: usize, line: fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().concat()
}

#[test]
fn a_playbook_has_a_limited_length() {
    let text = "#".repeat(limits::PLAYBOOK_BYTES_MAX + 1);
    let (document, found) = stopped(&text);
    assert_eq!((document.nodes, found.contains("1048577 bytes")), (0, true), "{found}");
    assert!(document::read(&text[1..]).found[0].message.contains("empty"));
}

#[test]
fn a_document_has_a_limited_depth() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(document::read(&nested(limits::YAML_DEPTH_MAX)).root.is_some());
    assert!(stopped(&nested(limits::YAML_DEPTH_MAX + 1)).1.contains("deeper than 64"));
    for bomb in ["[", "{a: ", "- ", "? ", "[a, {b: "] {
        let (document, found) = stopped(&bomb.repeat(100_000));
        // The YAML parser has a limit of its own, which a line of brackets reaches first.
        assert!(found.contains("deeper") || found.contains("recursion limit"), "{bomb}: {found}");
        assert!(document.nodes <= 2 * limits::YAML_DEPTH_MAX, "{bomb}: {}", document.nodes);
    }
}

#[test]
fn aliases_do_not_nest_deeper_than_the_document_may() {
    let (open, close) = ("[".repeat(30), "]".repeat(30));
    let mut text = format!("k0: &a0 {open}{close}\n");
    for index in 1..900 {
        writeln!(text, "k{index}: &a{index} {open}*a{}{close}", index - 1).unwrap();
    }
    assert!(stopped(&text).1.contains("deeper than 64"));
}

#[test]
fn a_document_has_a_limited_number_of_aliases() {
    let with = |count: usize| format!("a: &a x\nb: [{}]\n", "*a,".repeat(count));
    assert!(document::read(&with(limits::YAML_ALIASES_MAX)).root.is_some());
    assert!(stopped(&with(limits::YAML_ALIASES_MAX + 1)).1.contains("1000 aliases"));
}

#[test]
fn values_behind_aliases_count() {
    let mut laughs = format!("b0: &a0 [{}]\n", "x,".repeat(10));
    for index in 1..20 {
        let previous = format!("*a{},", index - 1);
        writeln!(laughs, "b{index}: &a{index} [{}]", previous.repeat(10)).unwrap();
    }
    assert!(stopped(&laughs).1.contains("200000 values"));

    let keys = lines(1_000, |index| format!("k{index}: 1,"));
    let merges = lines(200, |index| format!("m{index}: {{<<: [*x, *x]}}\n"));
    assert!(stopped(&format!("x: &x {{{keys}}}\n{merges}")).1.contains("200000 values"));
    assert!(stopped("a: &a {<<: *a}\n").1.contains("inside the value"));
}

#[test]
fn a_document_has_a_limited_number_of_values() {
    let keys = lines(100_001, |index| format!("a{index}:\n"));
    assert!(stopped(&keys).1.contains("200000 values"));
    assert!(stopped(&format!("[{}]", "a,".repeat(200_000))).1.contains("200000 values"));
}

#[test]
fn text_behind_aliases_counts() {
    let text = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(900_000), "*a,".repeat(900));
    assert!(stopped(&text).1.contains("4194304 bytes"));
}

#[test]
fn findings_are_limited_and_errors_come_first() {
    let keys = lines(500, |index| format!("a{index}: yes\n"));
    let unknown = parsed(&format!("{HEAD}{keys}workflow: [{{step: start, next: end}}]\n"));
    assert_eq!(unknown.diagnostics.len(), limits::DIAGNOSTICS_MAX);
    assert!(unknown.playbook.is_none());

    let values = lines(500, |index| format!("  a{index}: yes\n"));
    let warned =
        parsed(&format!("{HEAD}workload:\n{values}workflow: [{{step: start, next: c}}]\n"));
    assert_eq!(warned.diagnostics.len(), limits::DIAGNOSTICS_MAX);
    assert_eq!(warned.diagnostics.last().map(|found| found.code), Some("unknown-step"));
    assert!(warned.playbook.is_none());
}

#[test]
fn names_have_a_limited_length() {
    let long = "n".repeat(limits::NAME_BYTES_MAX + 1);
    for (name, step, iterator) in [(&*long, "start", "i"), ("p", &long, "i"), ("p", "start", &long)]
    {
        let text = format!(
            "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: {name}}}\nworkflow:\n\
             - {{step: {step}, tool: {{kind: noop}}, loop: {{in: [1], iterator: {iterator}}}}}\n"
        );
        let found = parse_unchecked(&text).diagnostics;
        assert!(found.iter().any(|one| one.code == "limit"), "{name:.5} {step:.5}: {found:?}");
    }
}
