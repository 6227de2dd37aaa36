//! Which texts are templates, and where their mistakes are shown.

use super::*;

/// Where templates do not compile, as `line:column`.
fn mistakes(text: &str) -> Vec<String> {
    let found = parsed(text).diagnostics;
    let found = found.iter().filter(|found| found.code == "template-syntax");
    found.map(|found| format!("{}:{}", found.position.line, found.position.column)).collect()
}

/// Where `BAD` stands in the file, as `line:column`.
fn place(text: &str) -> String {
    let before = text.split("BAD").next().unwrap();
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    format!("{}:{column}", before.matches('\n').count() + 1)
}

#[test]
fn a_mistake_is_shown_where_it_stands_in_the_file() {
    #[rustfmt::skip]
    let cases = [
        "  tool: {kind: noop, x: \"{{ BAD }}\"}\n",
        "  tool: {kind: noop, x: '{{ ''a'' BAD }}'}\n",
        "  tool:\n    kind: postgres\n    query: |\n      a\n\n      {{ BAD }}\n",
        "  tool:\n    kind: postgres\n    query: >-\n      a\n      b\n      {{ BAD }}\n",
        "  tool:\n    kind: http\n    url: x {{ BAD }}\n",
        "  tool: {kind: noop}\n  args: {a: [{b: \"{{ BAD }}\"}]}\n",
        "  tool: {kind: noop, args: {a: \"{{ BAD }}\"}}\n",
        "  tool: {kind: noop}\n  vars: {a: \"{{ BAD }}\"}\n",
        "  tool: {kind: noop}\n  set: {ctx.a: \"{{ BAD }}\"}\n",
        "  loop: {in: \"{{ BAD }}\", iterator: i}\n  next: b\n",
        "  loop: {in: [1], iterator: i, where: BAD}\n  next: b\n",
        "  loop: {in: [1], iterator: i, order_by: i BAD}\n  next: b\n",
        "  case: [{when: BAD, then: {next: b}}]\n",
        "  case: [{else: {set: {a: \"{{ BAD }}\"}}}]\n",
        "  case: [{else: {result: {from: BAD}}}]\n",
        "  case: [{else: {next: [{step: b, args: {a: \"{{ BAD }}\"}}]}}]\n",
        "  case: [{else: {retry: {when: BAD}}}]\n",
        "  case: [{else: {sink: {tool: {kind: event, data: \"{{ BAD }}\"}}}}]\n",
        "  next: {arcs: [{step: b, when: BAD}]}\n",
        "  tool: {kind: noop, spec: {policy: {rules: [{when: BAD}]}}}\n",
    ];
    for lines in cases {
        let text = with_start(lines);
        assert_eq!(mistakes(&text), [place(&text)], "{lines}");
    }
    let text = format!(
        "{HEAD}workload: {{a: \"{{{{ BAD }}}}\"}}\nworkflow: [{{step: start, next: end}}]\n"
    );
    assert_eq!(mistakes(&text), [place(&text)]);
}

#[test]
fn text_of_another_language_is_not_compiled() {
    #[rustfmt::skip]
    let cases = [
        "  tool: {kind: python, code: \"{{ BAD }}\"}\n",
        "  tool: {kind: rhai, code: \"{{ BAD }}\"}\n",
        "  tool: {kind: shell, cmds: [\"docker ps --format '{{.BAD}}'\"]}\n",
        "  tool: {kind: shell, command: \"{{.BAD}}\"}\n",
        "  tool: {kind: noop, x: \"no template, so BAD is fine\"}\n",
        "  tool: {kind: noop}\n  desc: \"{{ BAD }}\"\n",
        "  case: [{else: {sink: {tool: {kind: python, code: \"{{ BAD }}\"}}}}]\n",
    ];
    for lines in cases {
        assert_eq!(mistakes(&with_start(lines)), Vec::<String>::new(), "{lines}");
    }
}

#[test]
fn an_alias_shows_the_mistake_once_where_it_is_written() {
    let text = format!(
        "{HEAD}workload: {{a: &a \"{{{{ BAD }}}}\", b: *a}}\n\
         workflow: [{{step: start, next: end}}]\n"
    );
    assert_eq!(mistakes(&text), [place(&text)]);
}
