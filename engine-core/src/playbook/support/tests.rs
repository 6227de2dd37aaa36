use super::*;
use crate::playbook::parse::parse_unchecked;

/// What is not run of a playbook with these steps, in short.
fn listed(head: &str, steps: &str) -> Vec<String> {
    let text = format!(
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: p}}\n{head}workflow:\n{steps}"
    );
    let parsed = parse_unchecked(&text);
    let playbook = parsed.playbook.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
    let found = unsupported(&playbook);
    assert!(found.iter().all(|found| found.code == "unsupported" && found.position.line > 0));
    found
        .into_iter()
        .map(|found| format!("{}:{} {}", found.position.line, found.position.column, found.path))
        .collect()
}

#[test]
fn what_runs_is_not_listed() {
    #[rustfmt::skip]
    let cases = [
        "- {step: start, next: [end]}\n",
        "- {step: start, tool: {kind: http, url: x, timeout: 3}, next: end}\n",
        "- {step: start, tool: {kind: python, code: x}, spec: {timeout: 3s, on_error: continue}}\n",
        "- {step: start, tool: [{name: a, kind: python, code: x}], vars: {a: 1}, set: {b: 1}}\n",
        "- {step: start, case: [{when: x, then: {set: {a: 1}, \
          vars: {a: 1}, result: 1, next: end}}]}\n",
        "- {step: start, case: [{when: x, then: {retry: {max_attempts: 3, delay: 1}, \
          fail: {}, skip: {}}}]}\n",
        "- {step: start, case: [{else: {sink: {tool: {kind: event_log, data: 1}}}}]}\n",
        "- {step: start, case: [{else: {sink: {tool: event, data: 1}}}]}\n",
        "- {step: start, case: [{else: {collect: {path: a}, retry: {params: {}}, more: {tool: {kind: \
          http, url: x}}, sink: {tool: {kind: http, url: x}}}}]}\n",
        "- {step: start, case: [{else: {call: {params: {}}}}]}\n",
        "- {step: start, tool: {kind: http, url: x, spec: {policy: {rules: [{else: {do: fail}}]}}}}\n",
        "- {step: start, tool: [{kind: noop}, {kind: playbook, path: x, wait: true}]}\n",
        "- {step: start, tool: {kind: wait, seconds: 3}, retry: 3, spec: {join: all}}\n",
        "- {step: start, tool: {kind: callback}, sink: {tool: {kind: python, code: x}}}\n",
        "- {step: start, tool: {kind: python, script: {uri: x, source: {type: http}}}, spec: {policy: \
          {admit: {rules: [{else: {allow: true}}]}}}}\n",
        "- {step: start, loop: {in: [1], iterator: i, chunk: 2}, next: end}\n",
        "- {step: start, next: {spec: {mode: inclusive}, arcs: [{step: end, when: x, args: {}, \
          set: {}}]}}\n",
        "- {step: start, loop: {in: [1], iterator: i, where: x, order_by: i, \
          limit: 1, enumerate: true, spec: {mode: parallel}}, next: end}\n",
        "- {step: start, loop: {in: [1], iterator: i}, spec: {policy: {failure: {mode: \
          fail_fast}}}, next: end}\n",
    ];
    for steps in cases {
        assert_eq!(listed("", steps), Vec::<String>::new(), "{steps}");
    }
    let executor = "executor: {spec: {entry_step: a, final_step: a, no_next_is_error: true}}\n";
    assert_eq!(listed(executor, "- {step: a, tool: {kind: noop}}\n"), Vec::<String>::new());
}

#[test]
fn what_does_not_run_is_listed_with_its_place() {
    #[rustfmt::skip]
    let cases = [
        ("tool: {kind: snowflake, query: x}", "5:23 workflow[0].tool.kind"),
        ("tool: {kind: noop, output: {accumulate: {}}}", "5:23 workflow[0].tool.output"),
        ("tool: {kind: http, url: x, wait: true}", "5:23 workflow[0].tool.wait"),
        ("tool: {kind: python, script: {uri: x, source: {type: gcs}}}", "5:23 workflow[0].tool.script"),
        ("tool: [{kind: noop}, {kind: container}]", "5:38 workflow[0].tool[1].kind"),
        ("tool: [{kind: noop, retry: 3}, {kind: noop}]", "5:24 workflow[0].tool[0].retry"),
        ("tool: {kind: noop}, save: {tool: snowflake, table: t}", "5:3 workflow[0].sink"),
        ("case: [{else: {more: {tool: {kind: snowflake}}}}]", "5:45 workflow[0].case[0].more.tool.kind"),
        ("case: [{else: {more: {tool: {kind: wait, seconds: 1}}}}]", "5:24 workflow[0].case[0].more.tool"),
        ("case: [{else: {sink: {tool: {kind: snowflake}}}}]", "5:24 workflow[0].case[0]"),
        ("case: [{else: {sink: {tool: nats}}}]", "5:24 workflow[0].case[0]"),
        ("case: [{else: {sink: {storage: shell}}}]", "5:24 workflow[0].case[0]"),
        ("tool: {kind: noop}, retry: {on_success: {while: x, sink: {tool: gcs}}}",
         "5:3 workflow[0].retry"),
    ];
    for (step, expect) in cases {
        assert_eq!(listed("", &format!("- {{step: start, {step}}}\n")), [expect], "{step}");
    }
    let workbook = "workbook: [{name: a, tool: {kind: container}}, {name: b, tool: {kind: noop, retry: 3}}, \
                    {name: c, tool: {kind: container}}]\n";
    let call = |task: &str| format!("- {{step: start, tool: {{kind: workbook, task: {task}}}}}\n");
    assert_eq!(listed(workbook, &call("a")), ["4:28 workbook[0].tool.kind"], "what is called");
    assert_eq!(listed(workbook, &call("b")), ["4:64 workbook[1].tool.retry"]);
}

#[test]
fn lambda_has_no_files_of_the_author() {
    let text = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: p}\n\
                workflow: [{step: start, tool: {kind: python, script: {uri: x, source: {type: file}}}}]\n";
    let playbook = parse_unchecked(text).playbook.unwrap();
    assert_eq!(unsupported(&playbook), []);
    assert_eq!(unsupported_on_lambda(&playbook)[0].path, "workflow[0].tool.script");
}

#[test]
fn an_unknown_tool_is_told_which_kinds_run() {
    let text = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: p}\n\
                workflow: [{step: start, tool: {kind: snowflake}}]\n";
    let found = unsupported(&parse_unchecked(text).playbook.unwrap()).remove(0);
    assert_eq!(found.message, "the tool `snowflake` is known but not run by this build");
    let advice = found.advice.unwrap();
    assert!(advice.starts_with("kinds that run: `http`, `noop`, `python`, `postgres`"), "{advice}");
}
