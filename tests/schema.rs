//! The schema that editors read judges playbooks as the parser does, as far as a schema can.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed call is a failed test; figures are for readers of the log"
)]

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use engine_core::playbook::parse::{parse, to_json};
use engine_core::playbook::schema::json_schema;
use jsonschema::Validator;
use tests::binary::root;

/// Fixtures that are refused for what no schema can see, with the reason.
const SEMANTIC: [(&str, &str); 0] = [];

/// What is wrong with a playbook in the eyes of the schema; nothing if it is fine.
fn complaints(schema: &Validator, text: &str) -> Vec<String> {
    let document = to_json(text).expect("the fixtures are YAML");
    let complaint =
        |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    schema.iter_errors(&document).map(complaint).collect()
}

fn errors(text: &str) -> Vec<String> {
    let parsed = parse(text);
    let all: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    if parsed.playbook.is_some() { Vec::new() } else { all }
}

fn playbooks_in(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

fn schema() -> Validator {
    jsonschema::draft202012::new(&json_schema()).unwrap()
}

#[test]
fn every_example_keeps_to_the_schema_and_names_it() {
    let schema = schema();
    let files = playbooks_in(&root().join("playbooks"));
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let text = read_to_string(&file).unwrap();
        assert_eq!(complaints(&schema, &text), Vec::<String>::new(), "{}", file.display());
        assert_eq!(errors(&text), Vec::<String>::new(), "{}", file.display());
        let first = text.lines().next().unwrap_or_default();
        assert_eq!(first, "# yaml-language-server: $schema=schema.json", "{}", file.display());
    }
}

#[test]
fn the_schema_beside_the_examples_is_the_one_that_the_program_prints() {
    let file = root().join("playbooks/schema.json");
    let printed = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    let kept = read_to_string(&file).unwrap_or_default();
    let advice = "run `noetl-lambda schema > playbooks/schema.json`";
    assert!(kept == printed, "{} is not what `schema` prints; {advice}", file.display());
}

#[test]
fn real_playbooks_are_judged_as_noetl_judges_them() {
    let folder = root().join("../shared/conformance/dev");
    if !folder.exists() {
        eprintln!("SKIPPED LOUDLY: no conformance fixtures beside the project");
        return;
    }
    let schema = schema();
    let mut judged = 0;
    for fixture in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = fixture.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let expect = read_to_string(fixture.join("expect.yaml")).unwrap();
        let is_refused = expect.contains("registration: rejected");
        let Ok(text) = read_to_string(fixture.join("playbook.yaml")) else { continue };
        let (complaints, errors) = (complaints(&schema, &text), errors(&text));
        judged += 1;
        assert_eq!(!errors.is_empty(), is_refused, "{name}: {errors:#?}");
        if SEMANTIC.iter().all(|(semantic, _)| *semantic != name) {
            assert_eq!(!complaints.is_empty(), is_refused, "{name}: {complaints:#?}");
        }
    }
    assert!(judged > 20, "{judged} fixtures");
}

#[test]
fn the_schema_refuses_what_the_parser_refuses() {
    let schema = schema();
    let head = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: p}\nworkflow:\n";
    for step in [
        "{step: start, tool: {kind: noop}, nxt: end}",
        "{step: start, tool: {kind: wait}}",
        "{step: start, tool: {kind: wait, seconds: 1, until: 2}}",
        "{step: start, tool: {kind: callback, tiemout: 3}}",
        "{step: start, tool: {kind: noop}, retry: 0}",
        "{step: start, tool: {kind: noop}, retry: {max_attempts: 0}}",
        "{step: start, tool: {kind: noop}, retry: {on_success: {collect: {path: a}}}}",
        "{step: start, tool: {kind: noop, spec: {policy: {rules: [{when: x, then: {do: again}}]}}}}",
        "{step: start, tool: {kind: noop, spec: {policy: {rules: [{when: x, then: {do: jump}}]}}}}",
        "{step: start, tool: {kind: noop, spec: {policy: {rules: [{when: x}]}}}}",
        "{step: start, tool: {kind: noop}, spec: {policy: {admit: {rules: [{else: {}}]}}}}",
        "{step: start, tool: {kind: noop}, spec: {policy: {rules: []}}}",
    ] {
        let text = format!("{head}- {step}\n");
        assert_ne!(complaints(&schema, &text), Vec::<String>::new(), "the schema accepts {step}");
        assert_ne!(errors(&text), Vec::<String>::new(), "the parser accepts {step}");
    }
    for step in [
        "{step: start, tool: {kind: wait, seconds: 5m}, retry: true}",
        "{step: start, tool: {kind: callback, timeout: 2h}, retry: [{when: x, then: {delay: 1}}]}",
        "{step: start, tool: [{a: {kind: noop, set: {x: 1}}}, {kind: noop, spec: {policy: {rules: \
         [{else: , then: {do: break}}, {when: true, then: {set_iter: {a: 1}}}]}}}]}",
        "{step: start, tool: {kind: http, url: x, retry: {on_success: {while: x, next_call: {}}}}}",
        "{step: start, tool: {kind: noop}, retry: {max_attempts: 3, retry_on: [timeout], backoff: 5}}",
    ] {
        let text = format!("{head}- {step}\n");
        assert_eq!(complaints(&schema, &text), Vec::<String>::new(), "{step}");
        assert_eq!(errors(&text), Vec::<String>::new(), "{step}");
    }
}
