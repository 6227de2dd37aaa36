//! What broken playbooks are told; the other tests are in the files below.

mod decisions;
mod limits;
mod policies;
mod random;
mod shapes;
mod templates;

use super::*;
use crate::playbook::{Action, Dialect, Step};

/// The first three lines of every playbook here.
const HEAD: &str = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: p}\n";

/// Stands in for the compiler of templates: `BAD` does not compile.
fn without_bad(text: &str) -> Result<BTreeSet<String>, SyntaxError> {
    let Some(at) = text.find("BAD") else { return Ok(BTreeSet::new()) };
    let before = &text[..at];
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    Err(SyntaxError {
        message: "it is bad".to_owned(),
        line: u32::try_from(before.matches('\n').count() + 1).unwrap(),
        column: u32::try_from(column).unwrap(),
    })
}

fn parsed(text: &str) -> Parsed {
    parse_with(text, &Checks { text: without_bad, expression: without_bad })
}

/// The playbook of a text that has nothing wrong with it.
fn valid(text: &str) -> Playbook {
    let parsed = parsed(text);
    let found: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(found, Vec::<String>::new(), "{text}");
    parsed.playbook.unwrap()
}

/// A playbook with `workflow:` in line 4 and these steps below.
fn with_steps(steps: &str) -> String {
    format!("{HEAD}workflow:\n{steps}")
}

/// The step `start` with these further lines, and a step `b`.
fn with_start(lines: &str) -> String {
    with_steps(&format!("- step: start\n{lines}- step: b\n  next: start\n"))
}

/// A broken text, where what is wrong with it, and parts of the message and of the advice.
type Broken = (&'static str, &'static str, &'static str, &'static str);

/// Checks that a text is refused (or warned about) in the way that the row says.
fn assert_refused(text: &str, (_, place, message, advice): Broken) {
    let parsed = parsed(text);
    let all: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    let place_of = |found: &Diagnostic| {
        format!("{}:{} {}", found.position.line, found.position.column, found.code)
    };
    let found = parsed.diagnostics.iter().find(|found| {
        place_of(found) == place
            && found.message.contains(message)
            && found.advice.as_deref().unwrap_or_default().contains(advice)
    });
    assert!(found.is_some(), "expected {place}: {message} ({advice})\nfound {all:#?}\nin\n{text}");
    let failed = parsed.diagnostics.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(parsed.playbook.is_none(), failed, "{text}");
}

#[test]
fn what_is_no_playbook_is_refused() {
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("", "1:1 yaml-syntax", "empty", ""),
        ("# only a comment\n", "1:1 yaml-syntax", "empty", ""),
        ("- a\n", "1:1 wrong-type", "a playbook is a map, not a list", "apiVersion"),
        ("a: b: c\n", "1:5 yaml-syntax", "not YAML", "indentation"),
        ("a:\n  - \"x\n", "2:5 yaml-syntax", "not YAML", ""),
        ("a:\n\tb: 1\n", "2:2 yaml-syntax", "not YAML", "tabs"),
        ("a: {{ workload.x }}\n", "1:5 yaml-key", "a key must be text", "quote a value"),
        ("a: {{ workload.x }}/b\n", "1:5 yaml-key", "a key must be text", "quote a value"),
        ("a: *x\n", "1:4 yaml-syntax", "unknown anchor", ""),
        ("a: &x [*x]\n", "1:8 yaml-alias", "inside the value that it names", "contain itself"),
        ("a: !!python/object:os.system x\n", "1:4 yaml-tag", "python", "drop the tag"),
        ("a: !local [x]\n", "1:4 yaml-tag", "!local", "drop the tag"),
    ];
    for row in cases {
        assert_refused(row.0, *row);
    }
}

#[test]
fn a_wrong_root_is_refused() {
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("kind: Playbook\nmetadata: {name: p}\nworkflow: [{step: start, next: end}]\n",
         "1:1 missing-key", "`apiVersion`", "noetl.io/v2"),
        ("apiVersion: noetl.io/v1\nkind: Playbook\n",
         "1:13 v1-syntax", "first version", "noetl-lambda migrate"),
        ("apiVersion: noetl.io/v3\nkind: Playbook\n",
         "1:13 wrong-value", "noetl.io/v3", "noetl.io/v2"),
        ("apiVersion: noetl.io/v2\nkind: Workflow\nmetadata: {name: p}\n\
          workflow: [{step: start, next: end}]\n",
         "2:7 wrong-value", "`Workflow`", "kind: Playbook"),
        ("apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {path: p}\n\
          workflow: [{step: start, next: end}]\n",
         "3:1 missing-key", "metadata.name", "name"),
        ("apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: 5}\n\
          workflow: [{step: start, next: end}]\n",
         "3:18 wrong-type", "must be text, not a number", "\"5\""),
        ("apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: p}\n\
          metadata: {name: q}\nworkflow: [{step: start, next: end}]\n",
         "4:1 duplicate-key", "`metadata` is written twice", "keep one"),
    ];
    for row in cases {
        assert_refused(row.0, *row);
    }
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("workflow: []\n", "4:1 missing-key", "no steps", "step"),
        ("workflow: {start: x}\n", "4:1 wrong-type", "a list of steps", "- step"),
        ("workflo: []\n", "4:1 unknown-key", "`workflo`", "did you mean `workflow`?"),
        ("vars: {a: 1}\nworkflow: [{step: start, next: {arcs: [{step: end}]}}]\n",
         "4:1 moved-key", "not read", "workload"),
        ("workflow: [{step: begin, next: end}]\n", "4:1 missing-start", "`start`", "`begin`"),
        ("executor: {spec: {entry_step: x}}\nworkflow: [{step: a, next: end}]\n",
         "4:31 unknown-step", "`x`", "did you mean `a`?"),
        ("executor: {entry_step: a}\nworkflow: [{step: a, next: end}]\n",
         "4:12 moved-key", "entry_step", "executor.spec"),
        ("executor: {specs: {}}\nworkflow: [{step: a, next: end}]\n",
         "4:12 unknown-key", "`specs`", "`spec`"),
        ("workflow: [{step: start, next: end}]\n---\na: 1\n",
         "5:1 yaml-documents", "second document", "file of its own"),
    ];
    for row in cases {
        assert_refused(&format!("{HEAD}{}", row.0), *row);
    }
}

#[test]
fn a_wrong_part_of_the_root_is_refused() {
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("name: p\n", "4:1 moved-key", "`name`", "metadata"),
        ("environment: {}\n", "4:1 moved-key", "`environment`", "workload"),
        ("vars: {a: 1}\n", "4:1 ignored-key", "not read", "workload"),
        ("workload: [a]\n", "4:1 wrong-type", "`workload` must be a map, not a list", ""),
        ("workload: {a: yes}\n", "4:15 yaml-boolean", "`yes` is text", "`true`"),
        ("workload: {a: 99999999999999999999}\n", "4:15 yaml-number", "99999", "quote"),
        ("workbook: [{name: a, task: x}]\n", "4:12 missing-key", "no `tool`", "kind"),
        ("workbook: [{name: a, tool: {kind: noop}}, {name: a, tool: {kind: noop}}]\n",
         "4:50 duplicate-task", "`a`", "rename"),
        ("keychain: [{kind: bearer}]\n", "4:12 missing-key", "`name`", ""),
        ("workload: {u: \"{{ secret.URL }}\"}\n", "4:12 exposed-secret", "`workload.u` uses `secret`", "in the tool that needs it"),
        ("keychain: [{name: k}]\n", "4:12 missing-key", "`kind`", "`bearer`"),
        ("keychain: [{name: k, kind: barer}]\n", "4:28 wrong-value", "`barer`", "`bearer`"),
        ("keychain: [{name: k, kind: bearer}]\n", "4:12 missing-key", "`token`", "token: ..."),
        ("keychain: [{name: k-k, kind: bearer, token: t}]\n", "4:19 wrong-value", "`keychain.k-k`", "letters"),
        ("keychain: [{name: k, kind: bearer, token: t, tokn: t}]\n", "4:46 unknown-key", "`tokn`", "`token`"),
        ("keychain: [{name: k, kind: bearer, token: t, scope: all}]\n", "4:53 wrong-value", "`all`", "global"),
        ("keychain: [{name: k, kind: static, map: t}]\n", "4:41 wrong-type", "`map`", "field"),
        ("keychain: [{name: k, kind: google_oauth}]\n", "4:28 unsupported", "`google_oauth`", "oauth2"),
        ("keychain: [{name: k, kind: secret_manager, provider: gcp, map: {a: b}}]\n",
         "4:54 unsupported", "Google", "ssm"),
        ("keychain: [{name: k, kind: bearer, token: t}, {name: k, kind: bearer, token: t}]\n",
         "4:54 duplicate-entry", "`k`", "rename"),
    ];
    for row in cases {
        assert_refused(&format!("{HEAD}{}workflow: [{{step: start, next: end}}]\n", row.0), *row);
    }
}

#[test]
fn a_wrong_step_is_refused() {
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("  tool: {kind: noop}\n  nxt: b\n",
         "7:3 unknown-key", "`nxt` is not a key of a step", "did you mean `next`?"),
        ("  tool: {kind: http}\n  command: x\n  next: b\n",
         "7:3 misplaced-key", "belongs to the tool", "under `tool:`"),
        ("  desc: nothing\n", "5:9 missing-key", "needs `tool` or `next`", "noop"),
        ("  type: http\n", "6:3 moved-key", "`type`", "tool: {kind: ...}"),
        ("  tool: http\n  next: b\n", "6:9 v1-syntax", "`tool: http`", "tool: {kind: http}"),
        ("  tool: {kind: noop}\n  with: {a: 1}\n", "7:3 moved-key", "`with`", "`args`"),
        ("  task: {a: 1}\n", "6:3 moved-key", "`task`", "workbook"),
        ("  tool: {kind: noop}\n  when: x\n", "7:3 moved-key", "`when`", "arc"),
        ("  tool: {kind: noop}\n  as: x\n", "7:3 moved-key", "`as`", "vars"),
        ("  tool: {}\n", "6:3 missing-key", "needs a `kind`", "kind"),
        ("  tool: {type: http}\n", "6:10 missing-key", "needs a `kind`", "in the place of `type`"),
        ("  tool: {kind: htpp}\n", "6:16 unknown-kind", "`htpp`", "did you mean `http`?"),
        ("  tool: {kind: iterator}\n", "6:16 v1-syntax", "not a kind of tool", "loop"),
        ("  tool: []\n", "6:3 missing-key", "empty", "kind"),
        ("  tool: [{name: a, kind: noop}, {name: a, kind: noop}]\n",
         "6:33 duplicate-task", "`a`", ""),
        ("  tool: {kind: workbook, task: x}\n",
         "6:32 unknown-task", "no workbook task `x`", "define"),
        ("  tool: {kind: noop, args: x}\n",
         "6:28 wrong-type", "`args` must be a map, not text", ""),
        ("  tool: {kind: noop}\n  args: {a: 1}\n  input: {b: 1}\n",
         "8:3 conflict", "say the same", "`args` only"),
        ("  tool: {kind: noop, timeout: 0}\n",
         "6:31 wrong-value", "`timeout` cannot be 0", "more than 0"),
        ("  tool: {kind: noop}\n  spec: {timeout: soon}\n",
         "7:19 wrong-type", "must be a time", "30s"),
        ("  tool: {kind: noop}\n  spec: {on_error: retry}\n",
         "7:20 wrong-value", "`on_error`", "call.error"),
        ("  tool: {kind: noop}\n  spec: {case_mod: inclusive}\n",
         "7:10 unknown-key", "`case_mod`", "case_mode"),
        ("  tool: {kind: noop}\n  spec: {case_mode: both}\n",
         "7:21 wrong-value", "`both`", "`exclusive` or `inclusive`"),
        ("  tool: {kind: noop}\n  vars: [a]\n", "7:3 wrong-type", "`vars` must be a map", ""),
        ("  tool: {kind: noop}\n  set: [{name: a}]\n", "7:3 wrong-type", "`name` and `value`", ""),
        ("  tool: {kind: noop}\n  retry: {max_attempts: 0}\n",
         "7:25 wrong-value", "cannot be 0", "from 1"),
        ("  tool:\n    kind: noop\n    next: b\n",
         "8:5 misplaced-key", "configuration of the tool", "indent `next` less"),
    ];
    for row in cases {
        assert_refused(&with_start(row.0), *row);
    }
}

#[test]
fn a_wrong_loop_is_refused() {
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("loop: x", "6:9 wrong-type", "`loop` must be a map", "iterator"),
        ("loop: {in: [1]}", "6:3 missing-key", "needs `iterator`", "iterator: NAME"),
        ("loop: {iterator: x}", "6:3 missing-key", "needs `in`", "in:"),
        ("loop: {in: [1], iteratr: x}",
         "6:19 unknown-key", "`iteratr`", "did you mean `iterator`?"),
        ("loop: {in: [1], iterator: a-b}", "6:29 wrong-value", "not a variable name", "letters"),
        ("loop: {in: [1], iterator: vars}", "6:29 reserved-name", "`vars`", "`item`"),
        ("loop: {in: [1], iterator: x, element: y}",
         "6:32 conflict", "say the same", "`iterator` only"),
        ("loop: {in: workload.items, iterator: x}",
         "6:14 literal-collection", "one item", "{{ workload.items }}"),
        ("loop: {in: [1], iterator: x, mode: paralel}",
         "6:38 wrong-value", "`paralel`", "`parallel`"),
        ("loop: {in: [1], iterator: x, mode: chunked}",
         "6:32 missing-key", "needs `chunk`", "chunk: 10"),
        ("loop: {in: [1], iterator: x, mode: async, spec: {mode: sequential}}",
         "6:32 conflict", "differ", "spec.mode"),
        ("loop: {in: [1], iterator: x, spec: {max_in_flight: 0}}",
         "6:54 wrong-value", "cannot be 0", "from 1"),
        ("loop: {in: [1], iterator: x, spec: {max_in_flight: 900}}",
         "6:54 limit", "900", "64 or less"),
        ("loop: {in: [1], iterator: x, pagination: {}}",
         "6:32 moved-key", "`pagination`", "collect"),
        ("loop: {in: [1], iterator: x, enumerate: on}", "6:43 yaml-boolean", "`on`", "`true`"),
        ("loop: {in: [1], iterator: x, enumerate: maybe}", "6:43 wrong-type", "true or false", ""),
        ("loop: {in: [1], iterator: x, limit: -1}", "6:39 wrong-value", "-1", "from 0"),
    ];
    for row in cases {
        assert_refused(&with_start(&format!("  {}\n  next: b\n", row.0)), *row);
    }
}

#[test]
fn a_wrong_rule_is_refused() {
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("{when: x}", "7:5 missing-key", "a rule needs `then`", "next"),
        ("{when: , then: {next: b}}", "7:6 wrong-type", "must be a condition", "event.name"),
        ("{if: x, then: {next: b}}", "7:6 moved-key", "`if`", "`when`"),
        ("{wen: x, then: {next: b}}", "7:6 unknown-key", "`wen`", "did you mean `when`?"),
        ("{when: x, then: {next: b}, else: {next: b}}",
         "7:32 conflict", "cannot stand in one rule", "next rule"),
        ("{when: x, then: b}", "7:21 wrong-type", "must be a map or a list", "next"),
        ("{when: x, then: [b]}", "7:22 wrong-type", "is a map, not text", "- step"),
        ("{when: x, then: {nxt: b}}", "7:22 unknown-key", "`nxt`", "did you mean `next`?"),
        ("{when: x, then: {do: retry}}", "7:22 moved-key", "`do`", "tool.spec.policy.rules"),
        ("{when: x, then: {args: {a: 1}}}",
         "7:22 misplaced-key", "without a `step`", "beside `step`"),
        ("{when: x, then: {next: c}}", "7:28 unknown-step", "no step `c`", "did you mean `b`?"),
        ("{when: x, then: {next: \"{{ y }}\"}}", "7:28 wrong-value", "template", "each target"),
        ("{when: x, then: {call: {step: nobody}}}",
         "7:35 unknown-step", "`nobody`", "known are `b`, `start`"),
        ("{when: x, then: {next: {arcs: [{step: b}]}}}",
         "7:29 mixed-dialects", "arcs", "rule's `when`"),
        ("{when: x, then: {next: [{step: b, with: {}}]}}", "7:39 moved-key", "`with`", "`args`"),
        ("{when: x, then: {retry: {max_attempts: 0}}}",
         "7:44 wrong-value", "`max_attempts` cannot be 0", "from 1"),
        ("{when: x, then: {retry: {delay: -1}}}",
         "7:37 wrong-value", "`delay` cannot be -1", "0 or more"),
        ("{when: x, then: {retry: {initial_delay: -2s}}}", "7:45 wrong-value", "-2s", "0 or more"),
        ("{when: x, then: {retry: {max_atempts: 3}}}",
         "7:30 unknown-key", "`max_atempts`", "max_attempts"),
        ("{when: x, then: {retry: {backoff: cubic}}}", "7:39 wrong-value", "`cubic`", "`linear`"),
        ("{when: x, then: {set: 5}}", "7:27 wrong-type", "`set` must be a map", ""),
        ("{when: x, then: {sink: {tool: {kind: postgre}}}}",
         "7:42 unknown-kind", "`postgre`", "`postgres`"),
        ("{when: x, then: {more: {tool: noop}}}", "7:35 v1-syntax", "`tool: noop`", "{kind: noop}"),
        ("{when: \"{{ false }}\", then: {next: b}}", "7:12 never-holds", "never holds", "condition"),
        ("{when: \"{{ event.name == 'call.dune' and x }}\", then: {next: b}}",
         "7:12 unknown-event", "`call.dune`", "did you mean `call.done`?"),
        ("{when: \"event.name in ['step.exit', 'step_done']\", then: {next: b}}",
         "7:12 unknown-event", "`step_done`", "`step.done`"),
        ("{when: x > 1, then: {next: b}}\n  - {when: x  > 1, then: {set: {a: 1}}}",
         "8:5 unreachable-rule", "line 7 has the same", "one rule"),
        ("{when: \"{{ event.name == 'step.enter' }}\", then: {sink: {tool: noop}}}",
         "7:5 too-early", "nothing has run yet", "call.done"),
        ("{when: \"{{ secret.KEY == 1 }}\", then: {next: b}}",
         "5:9 exposed-secret", "uses `secret`", "configuration of the tool"),
        ("{else: {next: b}}\n  - {when: x, then: {next: b}}",
         "8:5 unreachable-rule", "never reached", "to the end"),
    ];
    for row in cases {
        assert_refused(&with_start(&format!("  case:\n  - {}\n", row.0)), *row);
    }
}

#[test]
fn a_wrong_next_is_refused() {
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("next:\n", "6:3 wrong-type", "not nothing", "next: NAME"),
        ("next: 5\n", "6:9 wrong-type", "not a number", "next: NAME"),
        ("next:\n    -step: b\n", "7:5 unknown-key", "`-step`", "a space after the dash"),
        ("next: c\n", "6:9 unknown-step", "no step `c`", "`b`"),
        ("next: [{step: b, when: x}]\n", "6:20 v1-syntax", "`when`", "arcs"),
        ("next: [{when: x, then: [{step: b}]}, {else: [{step: b}]}]\n",
         "6:11 v1-syntax", "`when`", "case"),
        ("next: {when: x, then: b}\n", "6:10 v1-syntax", "`when`", "case"),
        ("next: [{step: b, data: {a: 1}}]\n", "6:20 moved-key", "`data`", "`args`"),
        ("next: [{args: {a: 1}}]\n", "6:10 missing-key", "needs a `step`", "step"),
        ("next: [[b]]\n", "6:10 wrong-type", "not a list", ""),
        ("next: {spec: {mode: exclusive}}\n", "6:3 missing-key", "needs `arcs`", "arcs"),
        ("next: {spec: {mode: all}, arcs: [{step: b}]}\n",
         "6:23 wrong-value", "`all`", "`inclusive`"),
        ("next: {arcs: {step: b}}\n", "6:10 wrong-type", "`arcs` must be a list", "- step"),
        ("next: {arcs: [b]}\n", "6:17 wrong-type", "an arc is a map", "- step"),
        ("next: {arcs: [{step: b, wen: x}]}\n",
         "6:27 unknown-key", "`wen`", "did you mean `when`?"),
        ("next: {arcs: [{step: b, spec: {}}]}\n", "6:27 ignored-key", "no effect", "when"),
        ("next: {arcs: [{step: b}]}\n  case: [{else: {next: b}}]\n",
         "7:3 mixed-dialects", "`case`", "arcs"),
    ];
    for row in cases {
        assert_refused(&with_start(&format!("  {}", row.0)), *row);
    }
}

#[test]
fn wrong_names_of_steps_are_refused() {
    #[rustfmt::skip]
    let cases: &[Broken] = &[
        ("- step: start\n  next: a\n- step: a\n  next: end\n- step: a\n  next: end\n",
         "9:9 duplicate-step", "already defined in line 7", "rename"),
        ("- step: start\n  next: result\n- step: result\n  next: end\n",
         "7:9 reserved-name", "`result`", "rename"),
        ("- step: start\n  next: end\n- step: lost\n  next: end\n",
         "7:9 unreachable-step", "nothing leads to", "next"),
        ("- step: start\n  next: end\n- tool: {kind: noop}\n",
         "7:3 missing-key", "needs a name", "step: NAME"),
        ("- step: start\n  next: end\n- step: \"\"\n  next: end\n", "7:9 wrong-value", "empty", ""),
        ("- step: start\n  next: end\n- just text\n",
         "7:3 wrong-type", "a step is a map", "- step"),
    ];
    for row in cases {
        assert_refused(&with_steps(row.0), *row);
    }
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_the_text() {
    let parsed = parsed(&with_start("  tool: http\n  lop: {}\n  next: c\n"));
    let codes: Vec<_> = parsed.diagnostics.iter().map(|found| found.code).collect();
    assert_eq!(codes, ["v1-syntax", "unknown-key", "unknown-step"]);
    assert!(parsed.playbook.is_none());
}

#[test]
fn a_finding_names_its_path_and_its_length() {
    let parsed = parsed(&with_start("  loop: {in: [1], iterator: i, modee: 1}\n  next: b\n"));
    let found = &parsed.diagnostics[0];
    assert_eq!((found.path.as_str(), found.length), ("workflow[0].loop.modee", 5));
}
