use super::*;

/// How often each iteration has an outcome, in index order.
fn outcomes(bench: &Bench) -> Vec<usize> {
    let mut found = BTreeMap::new();
    for fact in bench.logs.values().flatten().flat_map(|entry| &entry.facts) {
        if let Fact::FrameAnswered { first, outcomes, .. } = fact {
            for (index, _) in (*first..).zip(outcomes) {
                *found.entry(index).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(
        found.keys().copied().collect::<Vec<_>>(),
        (0..found.len() as u64).collect::<Vec<_>>()
    );
    found.into_values().collect()
}

#[test]
fn what_a_worker_had_no_time_for_is_sent_out_again() {
    for (mode, lasts) in [
        ("sequential", 1),
        ("sequential", 7),
        ("parallel, max_in_flight: 3", 1),
        ("parallel, max_in_flight: 3", 30),
    ] {
        let workflow = format!(
            "workflow:\n- step: start\n  loop: {{ in: \"{{{{ range(500) | list }}}}\", iterator: n, spec: {{ mode: {mode} }} }}\n  \
             {NOOP}\n"
        );
        let mut bench = Bench::begin(&workflow, &json!({}), fine);
        (bench.lasts, bench.copies) = (lasts, 2);
        bench.drain();
        bench.prove();
        assert_eq!(bench.summary(), "start:500:Completed Completed", "{mode}, {lasts}");
        assert_eq!(outcomes(&bench), [1; 500], "{mode}, {lasts}");
        let facts = || bench.logs.values().flatten().flat_map(|entry| &entry.facts);
        let again = facts().filter(|fact| matches!(fact, Fact::FrameIssued { resumed: true, .. }));
        assert!(again.count() > 0, "{mode}, {lasts}");
        assert!(bench.commands.iter().all(|command| command.attempt == 1), "{mode}, {lasts}");
    }
}

#[test]
fn a_loop_that_was_stopped_leaves_undone_what_its_worker_had_no_time_for() {
    let mut bench = Bench::begin(
        "workflow:\n- step: start\n  loop: { in: \"{{ range(50) | list }}\", iterator: n, spec: { mode: sequential } }\n  \
         tool: { kind: noop }\n",
        &json!({}),
        fine,
    );
    bench.lasts = 1;
    // Until a frame of several iterations is out, whose answer is the next input.
    let is_long = |bench: &Bench| {
        bench
            .commands
            .last()
            .is_some_and(|command| command.frame.as_ref().is_some_and(|frame| frame.len > 1))
    };
    while !is_long(&bench) {
        let next = bench.queue.pop_front().unwrap();
        bench.take(next);
    }
    let answer = bench.queue.pop_back().unwrap();
    let to = answer.to.clone();
    bench.tell("stop", to, Input::Cancel { reason: "enough".to_owned() });
    bench.queue.push_back(answer);
    bench.drain();
    let commands = bench.commands.len();
    assert!(
        bench.commands[commands - 1].frame.as_ref().is_some_and(|frame| frame.len > 1),
        "nothing is issued after it"
    );
    let loops = bench.logs.values().filter_map(|log| match &log.last()?.state {
        State::Loop(state) => Some((state.closed, state.pending.len())),
        State::Execution(_) => None,
    });
    assert_eq!(loops.collect::<Vec<_>>(), [(true, 0)]);
}
