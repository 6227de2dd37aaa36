//! The decisions about loops.

use serde_json::json;

use super::super::{Bench, Tool, broken, fine, start_breaks};
use super::{ran, ran_by};
use crate::command::Command;
use crate::ids::AggregateKey;
use crate::limits::LOOP_IN_FLIGHT_DEFAULT;
use crate::state::State;

impl Bench {
    /// Most frames of one loop that were out at once.
    fn most_out(&self) -> u64 {
        let states = self.logs.values().flatten().filter_map(|entry| match &entry.state {
            State::Loop(state) => Some(state.in_flight()),
            State::Execution(_) => None,
        });
        states.max().unwrap_or(0)
    }
}

#[test]
fn d02_a_parallel_loop_that_names_no_window_has_the_default() {
    for mode in ["async", "parallel"] {
        let bench = ran(&format!(
            "workflow:
  - step: start
    loop: {{in: '{{{{ range(30) | list }}}}', iterator: n, mode: {mode}}}
    tool: {{kind: wait, seconds: 1}}
"
        ));
        assert_eq!(bench.most_out(), LOOP_IN_FLIGHT_DEFAULT, "{mode}");
    }
}

#[test]
fn d24_each_entry_into_a_loop_is_an_epoch_and_late_answers_touch_only_their_own() {
    let mut bench = Bench::begin(
        "workflow:
  - {step: start, tool: {kind: noop}, vars: {n: '{{ (n | default(0)) + 1 }}'}, next: each}
  - step: each
    loop: {in: '{{ range(n) | list }}', iterator: i}
    tool: {kind: noop}
    next: {arcs: [{step: start, when: '{{ vars.n < 3 }}'}]}
",
        &json!({}),
        fine,
    );
    bench.drain();
    let loops = bench.loops();
    assert_eq!(loops.len(), 3, "{loops:?}");
    for command in &bench.commands {
        if let AggregateKey::Loop { event_id, .. } = &command.reply_to {
            assert!(command.id.as_str().contains(&format!(":{event_id}:")), "{}", command.id);
        }
    }
    let lengths = |bench: &Bench| bench.logs.values().map(Vec::len).collect::<Vec<_>>();
    let before = lengths(&bench);
    let of_first: Vec<Command> =
        bench.commands.iter().filter(|command| command.reply_to == loops[0]).cloned().collect();
    for mut command in of_first {
        bench.answer(&command);
        command.reply_to = loops[2].clone();
        bench.answer(&command);
    }
    bench.drain();
    bench.prove();
    assert_eq!(lengths(&bench), before);
    assert_eq!(bench.state().steps[&"each".into()].runs, 1 + 2 + 3);
}

#[test]
fn d25_a_parallel_loop_has_as_many_iterations_out_as_its_window() {
    #[rustfmt::skip]
    let cases = [
        ("sequential", "",                          1),
        ("parallel",   ", spec: {max_in_flight: 3}", 3),
        ("async",      ", concurrency: 5",           5),
    ];
    for (mode, window, expect) in cases {
        let bench = ran(&format!(
            "workflow:
  - step: start
    loop: {{in: '{{{{ range(20) | list }}}}', iterator: n, mode: {mode}{window}}}
    tool: {{kind: wait, seconds: 1}}
"
        ));
        assert_eq!(bench.summary(), "start:20:Completed Completed");
        assert_eq!(bench.most_out(), expect, "{mode}{window}");
    }
}

#[test]
fn d26_a_failed_iteration_is_counted_and_decides_over_the_step_only_if_it_must() {
    let one: Tool = |_, index, _| if index == 0 { Err("no") } else { Ok(json!(index)) };
    let fast = ", spec: {policy: {failure: {mode: fail_fast}}}";
    let rule = "    case: [{when: \"{{ event.name == 'call.error' }}\", then: {set: {seen: 1}}}]\n";
    let done = "    case: [{when: \"{{ event.name == 'loop.done' }}\", then: {next: b}}]\n";
    #[rustfmt::skip]
    let cases = [
        ("one of three fails",            one,            "",   "",   "start:3:Completed Completed",             1),
        ("one of three fails, fail_fast", one,            fast, "",   "start:1:Failed Failed",                   1),
        ("all fail",                      broken as Tool, "",   "",   "start:3:Failed Failed",                   3),
        ("all fail and a rule knows",     broken as Tool, "",   rule, "start:3:Completed Completed",             3),
        ("all fail and loop.done routes", start_breaks as Tool, "", done, "start:3:Failed b:1:Completed Completed", 3),
    ];
    for (name, tool, spec, case, expect, failed) in cases {
        let bench = ran_by(
            &format!(
                "workflow:
  - step: start
    loop: {{in: [0, 1, 2], iterator: n{spec}}}
    tool: {{kind: noop}}
{case}  - {{step: b, tool: {{kind: noop}}}}
"
            ),
            tool,
        );
        assert_eq!(bench.summary(), expect, "{name}: {:?}", bench.state().failure);
        let log = &bench.logs[&bench.loops()[0]];
        let State::Loop(state) = &log.last().unwrap().state else { panic!("a loop") };
        assert_eq!((state.failed, state.closed), (failed, true), "{name}");
    }
}

#[test]
fn d28_an_empty_loop_is_done_at_once_and_the_way_goes_on() {
    for source in ["[]", "'{{ [] }}'", "'{{ none }}'", "''"] {
        let bench = ran(&format!(
            "workflow:
  - step: start
    loop: {{in: {source}, iterator: n}}
    tool: {{kind: noop}}
    case:
      - when: \"{{{{ event.name == 'loop.done' }}}}\"
        then: {{set: {{total: '{{{{ start.stats.total }}}}', told: '{{{{ event.payload.iterations }}}}'}}, next: b}}
  - {{step: b, tool: {{kind: noop}}}}
"
        ));
        assert_eq!(bench.summary(), "start:0:Completed b:1:Completed Completed", "{source}");
        assert_eq!((bench.var("total"), bench.var("told")), (json!(0), json!(0)), "{source}");
    }
}
