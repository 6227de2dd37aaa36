//! How executions end: joined branches, steps that are not admitted, time that is over, a parent that waits.

use serde_json::{Value, json};

use super::{BEGINNING_MS, Bench, ID, NOOP, fine, playbook};
use crate::event::{Fact, Input, Parent, Start, Status};
use crate::ids::{AggregateKey, ExecutionId};
use crate::limits::RETRY_DELAY_MS_MAX;
use crate::payload::Payload;
use crate::playbook::{Admission, Playbook, When};

fn run(playbook: Playbook, payload: &Value) -> Bench {
    let mut bench = Bench::begin_with(playbook, payload, fine);
    bench.drain();
    bench.prove();
    bench
}

#[test]
fn d57_a_join_runs_once_when_no_branch_can_reach_it_any_more() {
    let join = format!("- {{ step: j, {NOOP}, spec: {{ join: all }} }}\n");
    let cases = [
        (
            "two branches of unequal length",
            format!(
                "- {{ step: start, {NOOP}, next: [a, b] }}\n- {{ step: a, {NOOP}, next: j }}\n\
                 - {{ step: b, {NOOP}, next: c }}\n- {{ step: c, {NOOP}, next: j }}\n{join}"
            ),
            "start:1 a:1 b:1 c:1 j:1 Completed",
        ),
        (
            "a branch that takes another way",
            format!(
                "- {{ step: start, {NOOP}, next: [a, b] }}\n- {{ step: a, {NOOP}, next: j }}\n\
                 - step: b\n  {NOOP}\n  next: {{ spec: {{ mode: exclusive }}, arcs: [{{ step: d }}, \
                 {{ step: j }}] }}\n- {{ step: d, {NOOP} }}\n{join}"
            ),
            "start:1 a:1 b:1 d:1 j:1 Completed",
        ),
        (
            "two joins behind each other",
            format!(
                "- {{ step: start, {NOOP}, next: [a, k] }}\n- {{ step: a, {NOOP}, next: j }}\n\
                 - {{ step: k, {NOOP}, spec: {{ join: all }}, next: e }}\n- {{ step: e, {NOOP} }}\n\
                 - {{ step: j, {NOOP}, spec: {{ join: all }}, next: k }}\n"
            ),
            "start:1 a:1 j:1 k:1 e:1 Completed",
        ),
        (
            "two joins that wait for each other: the first of the document goes first",
            format!(
                "- {{ step: start, {NOOP}, next: [k, j] }}\n\
                 - {{ step: j, {NOOP}, spec: {{ join: all }}, next: \
                 {{ spec: {{ mode: exclusive }}, arcs: [{{ step: end }}, {{ step: k }}] }} }}\n\
                 - {{ step: k, {NOOP}, spec: {{ join: all }}, next: \
                 {{ spec: {{ mode: exclusive }}, arcs: [{{ step: end }}, {{ step: j }}] }} }}\n"
            ),
            "start:1 j:1 k:1 Completed",
        ),
    ];
    for (name, workflow, expect) in cases {
        let bench = run(playbook("t", &format!("workflow:\n{workflow}")), &json!({}));
        let found = bench.summary().replace(":Completed", "");
        assert_eq!(found, expect, "{name}");
        assert!(bench.state().arrived.is_empty(), "{name}");
    }
}

#[test]
fn a_join_has_the_arguments_of_all_branches_and_a_failure_leaves_it_alone() {
    let workflow = |tail: &str| {
        format!(
            "workflow:\n- {{ step: start, {NOOP}, next: [a, b] }}\n\
             - {{ step: a, {NOOP}, next: [{{ step: j, args: {{ x: 1, y: 1 }} }}] }}\n\
             - {{ step: b, {NOOP}, next: [{{ step: j, args: {{ y: 2 }} }}] }}\n\
             - {{ step: j, {NOOP}, spec: {{ join: all }}, vars: {{ sum: \"{{{{ args.x + args.y }}}}\" }} }}\n{tail}"
        )
    };
    let bench = run(playbook("t", &workflow("")), &json!({}));
    assert_eq!(bench.state().vars["sum"], Payload::Inline(json!(3)));

    let broken = |step: &str, _: u64, _: u32| if step == "b" { Err("no") } else { Ok(json!(1)) };
    let mut bench = Bench::begin(&workflow(""), &json!({}), broken);
    bench.drain();
    bench.prove();
    assert_eq!(bench.summary(), "start:1:Completed a:1:Completed b:1:Failed Failed");
}

fn admitting(rules: &[(&str, bool)]) -> Playbook {
    let workflow = format!(
        "workload: {{ n: 1 }}\nworkflow:\n- {{ step: start, {NOOP}, next: b }}\n\
         - {{ step: b, {NOOP}, next: c }}\n- {{ step: c, {NOOP} }}\n"
    );
    let mut playbook = playbook("t", &workflow);
    let step = playbook.steps.iter_mut().find(|step| step.name.as_str() == "b").unwrap();
    let position = step.position;
    let rule = |(when, allow): &(&str, bool)| Admission {
        when: if *when == "else" { When::Else } else { When::Condition((*when).to_owned()) },
        allow: *allow,
        position,
    };
    step.admit = rules.iter().map(rule).collect();
    playbook
}

#[test]
fn a_step_that_is_not_admitted_is_skipped_and_ends_its_branch() {
    let ran = "start:1:Completed b:1:Completed c:1:Completed Completed";
    let skipped = "start:1:Completed b:0:Skipped Completed";
    #[rustfmt::skip]
    let cases = [
        (&[("n == 1", true), ("else", false)][..], ran),
        (&[("n == 2", true), ("else", false)][..], skipped),
        (&[("n == 1", false), ("else", true)][..], skipped),
        (&[("n == 2", false)][..],                 ran),
        (&[("nowhere == 2", false)][..],           ran),
    ];
    for (rules, expect) in cases {
        let bench = run(admitting(rules), &json!({}));
        assert_eq!(bench.summary(), expect, "{rules:?}");
    }
    let bench = run(admitting(&[("else", false)]), &json!({}));
    assert_eq!(bench.state().last, Some("start".into()), "what did not run has no result");
    let bench = run(admitting(&[("n / 0 == 1", false)]), &json!({}));
    let failure = bench.state().failure.clone().unwrap();
    assert!(failure.error.message.contains("`admit` of `b`"), "{failure:?}");
}

fn timed(timeout: Value, workflow: &str) -> Playbook {
    Playbook { timeout: Some(timeout), ..playbook("t", workflow) }
}

#[test]
fn an_execution_in_time_does_not_mind_its_timer() {
    let workflow = format!("workflow:\n- {{ step: start, {NOOP} }}\n");
    let bench = run(timed(json!("2h"), &workflow), &json!({}));
    assert_eq!(bench.summary(), "start:1:Completed Completed");
    let timers: Vec<_> =
        bench.commands.iter().filter(|command| command.tool_kind == "wait").collect();
    assert_eq!(timers.len(), 1);
    assert_eq!(timers[0].id.as_str(), "7:timeout:1");
}

#[test]
fn a_timer_rings_until_the_time_is_over_and_then_fails_the_execution() {
    let workflow = format!("workflow:\n- {{ step: start, {NOOP} }}\n");
    let mut bench =
        Bench::begin_with(timed(json!("{{ hours }}h"), &workflow), &json!({"hours": 2}), fine);
    let first = bench.queue.pop_front().unwrap();
    bench.take(first);
    let answer = bench.queue.pop_front().unwrap();
    bench.drain();
    let failure = bench.state().failure.clone().unwrap();
    assert!(
        failure.error.kind == "TimeoutError" && failure.error.message.contains("within"),
        "{failure:?}"
    );
    assert_eq!(bench.state().status, Status::Running, "its command is still out");
    let hours_ms = 2 * 3_600_000;
    assert_eq!(bench.commands.len() as u64, 1 + hours_ms / RETRY_DELAY_MS_MAX);
    assert!(bench.now_ms - BEGINNING_MS >= i64::try_from(hours_ms).unwrap());
    bench.queue.push_back(answer);
    bench.drain();
    bench.prove();
    assert_eq!(bench.summary(), "start:1:Completed Failed");

    let key = AggregateKey::Execution(ID);
    let entries = bench.logs[&key].len();
    for command in bench.commands.clone() {
        bench.answer(&command);
    }
    bench.tell("tick", key.clone(), Input::Tick);
    bench.drain();
    assert_eq!(bench.logs[&key].len(), entries, "nothing is heard after the end");
}

#[test]
fn a_tick_after_the_time_is_over_is_as_good_as_the_timer() {
    let workflow = format!("workflow:\n- {{ step: start, {NOOP} }}\n");
    let mut bench = Bench::begin_with(timed(json!(60), &workflow), &json!({}), fine);
    let first = bench.queue.pop_front().unwrap();
    bench.take(first);
    (bench.timers, bench.queue) = Default::default();
    bench.now_ms += 59_000;
    bench.tell("early", AggregateKey::Execution(ID), Input::Tick);
    bench.drain();
    assert_eq!(bench.state().failure, None);
    bench.now_ms += 2_000;
    bench.tell("late", AggregateKey::Execution(ID), Input::Tick);
    bench.drain();
    assert_eq!(bench.state().failure.clone().unwrap().error.kind, "TimeoutError");
}

/// A child of execution 1, and what its parent was told.
fn child(
    workflow: &str,
    tool: super::Tool,
    return_step: Option<&str>,
    waits: bool,
) -> Option<Value> {
    let mut bench = Bench::begin(workflow, &json!({}), tool);
    bench.queue.clear();
    let key = AggregateKey::Execution(ExecutionId(1));
    let parent = Parent {
        key: key.clone(),
        command_id: "1:call:2".into(),
        attempt: 3,
        waits,
        return_step: return_step.map(Into::into),
        depth: 1,
    };
    let playbook = bench.playbook.reference.clone();
    let start = Start { playbook, payload: serde_json::Map::new(), parent: Some(parent) };
    bench.tell("start", AggregateKey::Execution(ID), Input::Start(start));
    while let Some(envelope) = bench.queue.pop_front() {
        if envelope.to == key {
            let Input::Answer(answer) = envelope.input else { panic!("an answer was expected") };
            assert_eq!((answer.command_id.as_str(), answer.attempt), ("1:call:2", 3));
            assert_eq!(envelope.id.as_str(), "exec:7:finished");
            bench.prove();
            let outcome = answer.outcomes.into_iter().next().unwrap();
            return Some(match outcome.error {
                None => bench.load(&outcome.result),
                Some(error) => json!(format!("{}: {}", error.kind, error.message)),
            });
        }
        bench.take(envelope);
    }
    None
}

#[test]
fn d43_a_parent_is_told_how_its_child_ended() {
    let chain =
        format!("workflow:\n- {{ step: start, {NOOP}, next: b }}\n- {{ step: b, {NOOP} }}\n");
    let by_name = |step: &str, _: u64, _: u32| Ok(json!({"of": step}));
    let whole =
        |of: &str| json!({"status": "completed", "execution_id": "7", "result": {"of": of}});
    assert_eq!(child(&chain, by_name, None, true), Some(whole("b")));
    assert_eq!(child(&chain, by_name, Some("start"), true), Some(whole("start")));
    assert_eq!(child(&chain, by_name, None, false), None, "nobody waits");

    let told = child(&chain, by_name, Some("c"), true).unwrap();
    assert!(
        told.as_str().unwrap().contains("is no step of playbook `t`; it has `start`, `b`"),
        "{told}"
    );
    let told = child(&chain, super::broken, None, true).unwrap();
    let expect = "PlaybookError: playbook `t` (execution 7) failed at step `start`: no";
    assert_eq!(told, expect);

    let large = |_: &str, _: u64, _: u32| Ok(json!("x".repeat(100_000)));
    let told = child(&chain, large, None, true).unwrap();
    assert_eq!(told["result"].as_str().unwrap().len(), 100_000);
    let huge = |_: &str, _: u64, _: u32| Ok(json!("x".repeat(300_000)));
    let told = child(&chain, huge, None, true).unwrap();
    assert_eq!(told.as_str().unwrap().len(), 300_000, "too large to be copied");
    let looping =
        format!("workflow:\n- step: start\n  loop: {{ in: [1, 2], iterator: n }}\n  {NOOP}\n");
    let told = child(&looping, fine, None, true).unwrap();
    assert_eq!(told["stats"]["total"], 2, "a loop's aggregate is told as it is");
}

#[test]
fn a_cancelled_execution_says_which_commands_it_gave_up_and_tells_its_parent() {
    let workflow = format!("workflow:\n- {{ step: start, {NOOP} }}\n");
    let mut bench = Bench::begin(&workflow, &json!({}), fine);
    let first = bench.queue.pop_front().unwrap();
    bench.take(first);
    bench.queue.clear();
    let key = AggregateKey::Execution(ID);
    bench.tell("cancel", key.clone(), Input::Cancel { reason: "enough".to_owned() });
    bench.drain();
    bench.prove();
    let facts = &bench.logs[&key].last().unwrap().facts;
    assert!(
        matches!(&facts[..], [Fact::CommandCancelled { .. }, Fact::Finished { .. }]),
        "{facts:#?}"
    );
    assert_eq!(bench.state().status, Status::Cancelled);
}
