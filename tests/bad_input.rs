//! What a person gets who gives the program something bad: a clear error, the place, and the cure.

use serde_json::{Value, json};
use tests::binary::{Ran, playbook, run, run_text, written};

fn checked(text: &str) -> Ran {
    let file = written(text);
    run(["check", &file.path().to_string_lossy()])
}

fn failed(rest: &str, parts: &[&str]) -> Value {
    let ran = run_text(&playbook(rest), &json!({}));
    assert_eq!(ran.code, Some(1), "{}\n{}", ran.stdout, ran.stderr);
    let view = ran.json();
    assert_eq!(view["status"], "FAILED");
    let error = view["error"].to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in {error}");
    }
    view
}

/// A workflow of one python step.
fn python(code: &str) -> String {
    let code = code.replace('\n', "\n        ");
    format!(
        "workflow:\n  - step: start\n    tool:\n      kind: python\n      code: |\n        {code}\n"
    )
}

/// Each text is refused with every part of its message.
fn refused(cases: &[(&str, String, &[&str])]) {
    for (name, text, parts) in cases {
        let ran = checked(text);
        assert_eq!(ran.code, Some(2), "{name}: {}{}", ran.stdout, ran.stderr);
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        for part in *parts {
            assert!(shown.contains(part), "{name}: `{part}` is not in\n{shown}");
        }
    }
}

#[test]
fn a_playbook_that_cannot_run_is_refused_with_its_place_and_its_cure() {
    let ok = "workflow:\n  - { step: start, tool: { kind: noop } }\n";
    let cases = [
        ("broken YAML", "workflow: [\n  - step: start\n".to_owned(), &["line"][..]),
        ("a tab", "workflow:\n\t- step: start\n".to_owned(), &["tab"]),
        ("an empty file", String::new(), &["empty"]),
        (
            "a v1 playbook",
            playbook(ok).replace("noetl.io/v2", "noetl.io/v1"),
            &["noetl.io/v1", "noetl.io/v2"],
        ),
        ("a wrong kind", playbook(ok).replace("kind: Playbook", "kind: Pod"), &["Pod", "Playbook"]),
        (
            "an unknown step",
            playbook("workflow:\n  - { step: start, tool: { kind: noop }, next: strat }\n"),
            &["strat", "start"],
        ),
        (
            "an unknown key",
            playbook("workflow:\n  - { step: start, tool: { kind: noop }, nxt: end }\n"),
            &["nxt", "next"],
        ),
        (
            "a template that does not compile",
            playbook(
                "workflow:\n  - { step: start, tool: { kind: noop }, args: { a: \"{{ 1 + }}\" } }\n",
            ),
            &["5:61", "template"],
        ),
        (
            "an unknown filter",
            playbook(
                "workflow:\n  - { step: start, tool: { kind: noop }, args: { a: \"{{ 1 | lenght }}\" } }\n",
            ),
            &["lenght", "length"],
        ),
        (
            "a tool that this build does not run",
            playbook(
                "workflow:\n  - { step: start, tool: { kind: snowflake, query: select 1 } }\n",
            ),
            &["snowflake", "python"],
        ),
    ];
    refused(&cases);
}

#[test]
fn tries_delays_and_jumps_that_make_no_sense_are_refused() {
    refused(&[
        (
            "a retry that never tries",
            playbook(
                "workflow:\n  - { step: start, tool: { kind: noop }, retry: { max_attempts: 0 } }\n",
            ),
            &["5:65", "`max_attempts` cannot be 0", "from 1"],
        ),
        (
            "a delay before the failure",
            playbook(
                "workflow:\n  - { step: start, tool: { kind: noop }, retry: { initial_delay: -3 } }\n",
            ),
            &["5:66", "-3", "0 or more"],
        ),
        (
            "a jump to nowhere",
            playbook(
                "workflow:\n  - step: start\n    tool:\n      - { name: first, kind: noop }\n      - name: second\n        \
                 kind: noop\n        spec: { policy: { rules: [ { else: { then: { do: jump, to: frist } } } ] } }\n",
            ),
            &["frist", "`first`"],
        ),
    ]);
}

#[test]
fn a_template_that_cannot_render_names_the_step_and_the_variable() {
    failed(
        "workflow:\n  - step: start\n    tool: { kind: python, args: { a: \"{{ workload.missing.deep }}\" }, code: \"result = a\" }\n",
        &["start", "TemplateError", "missing"],
    );
    failed(
        "workflow:\n  - step: start\n    loop: { in: \"{{ 1 // 0 }}\", iterator: n }\n    tool: { kind: noop }\n",
        &["start", "TemplateError"],
    );
}

#[test]
fn python_that_misbehaves_is_one_clear_error_and_the_next_call_works() {
    let cases = [
        ("raise KeyError('colour')", &["KeyError", "colour", "raise KeyError"][..]),
        ("result = {'fine': 1, 'bad': object()}", &["object", "bad"]),
        (
            "print('x' * 50_000_000)\nraise ValueError('after a lot of output')",
            &["ValueError", "after a lot"],
        ),
        ("import os\nos._exit(3)", &["interpreter"]),
        ("import sys\nsys.exit(4)", &["SystemExit"]),
        ("def broken(:", &["SyntaxError"]),
        ("import no_such_module_at_all", &["ModuleNotFoundError", "no_such_module_at_all"]),
    ];
    for (code, parts) in cases {
        failed(&python(code), parts);
    }
}

#[test]
fn python_that_prints_a_gigabyte_ends_well_and_keeps_little() {
    let code = "for _ in range(1000):\n    print('x' * 1_000_000)\nresult = 'done'";
    let ran = run_text(&playbook(&python(code)), &json!({}));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.json()["result"], "done");
    assert!(ran.stdout.len() + ran.stderr.len() < 200_000);
}

#[test]
fn python_that_sleeps_past_its_timeout_is_stopped_and_says_how_to_raise_it() {
    failed(
        "workflow:\n  - step: start\n    spec: { timeout: 300ms }\n    tool: { kind: python, code: \"import time; time.sleep(60)\" }\n",
        &["TimeoutError", "timeout"],
    );
}

#[test]
fn python_that_forks_leaves_nothing_behind() {
    let code = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\n    os._exit(0)\nresult = 'parent'";
    let ran = run_text(&playbook(&python(code)), &json!({}));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.json()["result"], "parent");
}

#[test]
fn a_loop_over_something_odd_is_one_item_or_none() {
    let cases = [("\"abc\"", 1), ("5", 1), ("{ a: 1 }", 1), ("null", 0)];
    for (source, items) in cases {
        let rest = format!(
            "workload: {{ odd: {source} }}\nworkflow:\n  - step: start\n    loop: {{ in: \"{{{{ workload.odd }}}}\", iterator: n }}\n    tool: {{ kind: noop }}\n"
        );
        let ran = run_text(&playbook(&rest), &json!({}));
        assert_eq!(ran.json()["steps"]["start"]["result"]["stats"]["total"], items, "{source}");
    }
}

#[test]
fn a_hostile_template_is_an_error_and_not_a_hang() {
    for template in [
        "{{ 'x' * 999999999 }}",
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{{ range(10 ** 12) | list }}",
    ] {
        let rest = format!(
            "workflow:\n  - step: start\n    tool: {{ kind: python, args: {{ a: \"{template}\" }}, code: \"result = 1\" }}\n"
        );
        failed(&rest, &["TemplateError"]);
    }
}

#[test]
fn a_cycle_of_steps_without_a_way_out_ends() {
    let rest = "workflow:\n  - { step: start, tool: { kind: noop }, next: again }\n  - { step: again, tool: { kind: noop }, next: start }\n";
    failed(rest, &["LimitError", "cycle"]);
}

#[test]
fn a_store_that_cannot_be_used_says_why() {
    let file = written(&playbook("workflow:\n  - { step: start, tool: { kind: noop } }\n"));
    let path = file.path().to_string_lossy().into_owned();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();

    std::fs::write(at("text.db"), "this is no database, whatever its name says").unwrap();
    let ran = run(["run", &path, "--json", "--store", &at("text.db")]);
    assert_ne!(ran.code, Some(0));
    assert!(ran.stderr.contains("text.db"), "{}", ran.stderr);

    let newer = rusqlite::Connection::open(at("newer.db")).unwrap();
    assert_eq!(run(["run", &path, "--json", "--store", &at("mine.db")]).code, Some(0));
    newer.pragma_update(None, "user_version", 9_999).unwrap();
    drop(newer);
    let ran = run(["run", &path, "--json", "--store", &at("newer.db")]);
    assert_ne!(ran.code, Some(0));
    assert!(ran.stderr.contains("newer"), "{}", ran.stderr);

    let ran = run(["run", &path, "--json", "--store", "/proc/nowhere/store.db"]);
    assert_ne!(ran.code, Some(0));
    assert!(ran.stderr.contains("/proc/nowhere"), "{}", ran.stderr);
}
