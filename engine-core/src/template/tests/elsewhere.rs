//! Values that are only named: what asks for them, and what does not.

use super::*;
use crate::payload::{List, Pages, Part};

fn loop_summary() -> Payload {
    let key = crate::ids::AggregateKey::Execution(ExecutionId(7));
    Payload::Loop(LoopSummary { key, total: 3, failed: 1 })
}

/// `big` and `other` are elsewhere, `looped` is a closed loop, `here` is not.
fn remote(loaded: Loaded) -> Context {
    let mut context = Context::new(Arc::new(loaded));
    context.set_result("big", &stored("big"));
    context.set_response("other", &stored("other"));
    context.set_result("looped", &loop_summary());
    context.set_value("here", &json!(1));
    let vars = [("far", stored("far")), ("near", Payload::Inline(json!("n")))];
    context.set_map("vars", &vars.map(|(k, v)| (k.to_owned(), v)).into());
    context
}

fn all_loaded() -> Loaded {
    let mut loaded = Loaded::default();
    loaded.insert(&stored("big"), &json!({"x": {"y": 5}, "list": [1, 2]}));
    loaded.insert(&stored("other"), &json!({"data": {"paging": {"hasMore": false}}}));
    loaded.insert(&stored("far"), &json!("away"));
    let results = json!({"results": ["a", "b"], "stats": {"total": 3, "success": 2, "failed": 1}});
    loaded.insert(&loop_summary(), &results);
    loaded
}

#[test]
fn touching_a_value_that_is_elsewhere_asks_for_it() {
    let context = remote(Loaded::default());
    for text in [
        "big.x",
        "big.x.y == 1",
        "big == 1",
        "1 == big",
        "big != 'a'",
        "not big",
        "big and here",
        "big or here",
        "'a' in big",
        "big in [1]",
        "big | length > 0",
        "big | default(1, true)",
        "big | tojson",
        "big | string",
        "big ~ 'x'",
        "big + 1",
        "big is mapping",
        "big is none",
        "big is string",
        "big[0]",
        "big[1:]",
        "big.get('a')",
        "big.items() | list",
        "[1, big] | join(',')",
        "[big] | first | length",
        "big.x is defined",
        "big.x | default(1)",
        "big | selectattr('a') | list",
        "1 if big else 2",
        "range(big)",
        "here | int(big)",
    ] {
        assert_eq!(condition(text, &context), Err(needs(&[stored("big")])), "{text}");
        let braced = format!("{{{{ {text} }}}}");
        assert_eq!(evaluate(&braced, &context), Err(needs(&[stored("big")])), "{braced}");
    }
    for text in [
        "{% for x in big %}{{ x }}{% endfor %}",
        "{% if big %}a{% endif %}",
        "a {{ big }}",
        "{{ big }}",
        "{{ [big] }}",
        "{% set q = big %}{{ q.x }}",
        "{% for x in [big] %}{{ x }}{% endfor %}",
    ] {
        assert_eq!(evaluate(text, &context), Err(needs(&[stored("big")])), "{text}");
    }
}

#[test]
fn what_is_not_touched_is_not_asked_for() {
    let context = remote(Loaded::default());
    for (text, expect) in [
        ("big is defined", true),
        ("big is not defined", false),
        ("here == 1 or big.x == 1", true),
        ("here == 2 and big.x == 1", false),
        ("looped.stats.total == 3", true),
        ("looped.stats.failed > 0 and looped.stats.success == 2", true),
        ("looped.data.stats.total == 3", true),
        ("looped.results is defined", true),
        ("looped.nothing is defined", false),
        ("looped is mapping", true),
        ("vars.near == 'n'", true),
        ("vars.far is defined", true),
        ("vars.none is defined", false),
        ("'far' in vars", true),
        ("vars | length == 2", true),
        ("(big if here == 2 else 3) == 3", true),
    ] {
        assert_eq!(condition(text, &context), Ok(expect), "{text}");
    }
}

#[test]
fn the_results_of_a_loop_need_the_loop() {
    let context = remote(Loaded::default());
    for text in ["looped.results | length > 1", "looped.results[0]", "looped | tojson"] {
        assert_eq!(condition(text, &context), Err(needs(&[loop_summary()])), "{text}");
    }
    let context = remote(all_loaded());
    assert_eq!(condition("looped.results | length == 2", &context), Ok(true));
    assert_eq!(evaluate("{{ looped.results }}", &context), Ok(json!(["a", "b"])));
    assert_eq!(evaluate("{{ looped.stats.failed }}", &context), Ok(json!(1)));
}

#[test]
fn everything_that_one_text_needs_is_asked_for_at_once() {
    let context = remote(Loaded::default());
    let both = needs(&[stored("big"), stored("other")]);
    assert_eq!(evaluate("{{ big.x }} {{ other.y }}", &context), Err(both.clone()));
    let value = json!({"a": "{{ big.x }}", "b": ["{{ other }}", "{{ big }}"]});
    assert_eq!(render(&value, &context, Coerce::Mixed), Err(both));
    let map = json!({"a": "{{ vars.far }}!", "b": "{{ looped.results | length }}"});
    let expect = needs(&[stored("far"), loop_summary()]);
    assert_eq!(render_map(map.as_object().unwrap(), &context, Coerce::Mixed), Err(expect));
}

#[test]
fn loaded_values_are_like_any_other() {
    let context = remote(all_loaded());
    for (text, expect) in [
        ("{{ big.x.y }}", json!(5)),
        ("{{ big.data.x }}", json!({"y": 5})),
        ("{{ other.hasMore }}", json!(false)),
        ("{{ other.paging.hasMore }}", json!(false)),
        ("{{ vars.far }}", json!("away")),
        ("{{ vars }}", json!({"far": "away", "near": "n"})),
        ("{{ big.list | sum }} {{ vars.near }}", json!("3 n")),
    ] {
        assert_eq!(evaluate(text, &context), Ok(expect), "{text}");
    }
}

#[test]
fn a_lone_name_of_a_value_elsewhere_stays_a_name() {
    for context in [remote(Loaded::default()), remote(all_loaded())] {
        for (text, expect) in [
            ("{{ big }}", stored("big")),
            ("{{ looped }}", loop_summary()),
            ("{{ looped.data }}", loop_summary()),
            ("{{ vars.far }}", stored("far")),
            (" {{ big }} ", stored("big")),
            ("{{ vars.near }}", Payload::Inline(json!("n"))),
            ("{{ here }}", Payload::Inline(json!(1))),
            ("plain", Payload::Inline(json!("plain"))),
        ] {
            assert_eq!(evaluate_payload(text, &context), Ok(expect), "{text}");
        }
        assert_eq!(expression("big", &context), Ok(stored("big")));
        let map = json!({"a": "{{ big }}", "b": "{{ here }}", "c": {"d": "{{ here }}"}});
        let rendered = render_map(map.as_object().unwrap(), &context, Coerce::Mixed).unwrap();
        assert_eq!(rendered["a"], stored("big"));
        assert_eq!(rendered["c"], Payload::Inline(json!({"d": 1})));
    }
}

#[test]
fn a_fallback_is_a_name_only_if_it_is_known_to_fall_through() {
    let unknown = remote(Loaded::default());
    assert_eq!(evaluate_payload("{{ big.data }}", &unknown), Err(needs(&[stored("big")])));
    let known = remote(all_loaded());
    assert_eq!(evaluate_payload("{{ big.data }}", &known), Ok(stored("big")));
    assert_eq!(evaluate_payload("{{ big.result }}", &known), Ok(stored("big")));
    let body = Payload::Inline(json!({"paging": {"hasMore": false}}));
    assert_eq!(evaluate_payload("{{ other.data }}", &known), Ok(body));
}

#[test]
fn the_keys_of_a_workload_elsewhere_need_it() {
    let mut context = Context::new(Arc::default());
    context.set_value("own", &json!(1));
    context.push_keys(&stored("workload"));
    assert_eq!(condition("own == 1", &context), Ok(true));
    assert_eq!(condition("range(2) | length == 2", &context), Ok(true));
    let expect = needs(&[stored("workload")]);
    assert_eq!(condition("city is defined", &context), Err(expect.clone()));
    assert_eq!(evaluate_payload("{{ city }}", &context), Err(expect));

    let mut loaded = Loaded::default();
    loaded.insert(&stored("workload"), &json!({"city": "Bern"}));
    let mut context = Context::new(Arc::new(loaded));
    context.push_keys(&stored("workload"));
    assert_eq!(evaluate("{{ city }}", &context), Ok(json!("Bern")));
    assert!(undefined(evaluate("{{ citi }}", &context)).contains("did you mean `city`"));
}

fn collected() -> Payload {
    let parts = vec![Part::Item(Payload::Inline(json!(1))), Part::Items(stored("rest"))];
    Payload::List(List { parts })
}

fn pages(envelope: bool) -> Payload {
    let pages = Pages { last: stored("last"), items: collected(), count: 2, envelope };
    Payload::Pages(Box::new(pages))
}

/// `items` is a collected list, `told` the last page with it, `data` the same as an envelope.
fn collecting(loaded: Loaded) -> Context {
    let mut context = Context::new(Arc::new(loaded));
    context.set_result("items", &collected());
    context.set_result("told", &pages(false));
    context.set_response("data", &pages(true));
    context.push_names(&[("variable".to_owned(), collected())].into());
    context
}

#[test]
fn collected_items_are_asked_for_and_travel_by_name() {
    let context = collecting(Loaded::default());
    for (text, needed) in [
        ("{{ items | length }}", collected()),
        ("{{ items[0] }}", collected()),
        ("{{ variable | join(',') }}", collected()),
        ("{% for item in items %}{{ item }}{% endfor %}", collected()),
        ("{{ told.id }}", pages(false)),
        ("{{ told._all_collected_items | length }}", pages(false)),
        ("{{ data.meta.iterations }}", pages(true)),
    ] {
        assert_eq!(evaluate(text, &context), Err(needs(&[needed])), "{text}");
    }
    for (text, expect) in [
        ("{{ items }}", collected()),
        ("{{ items.data }}", collected()),
        ("{{ items.result }}", collected()),
        ("{{ variable }}", collected()),
        ("{{ told }}", pages(false)),
        ("{{ told._all_collected_items }}", collected()),
        ("{{ data }}", pages(true)),
        ("{{ data.data }}", collected()),
        ("{{ data['_all_collected_items'] }}", collected()),
    ] {
        assert_eq!(evaluate_payload(text, &context), Ok(expect), "{text}");
    }
    assert_eq!(evaluate_payload("{{ told.data }}", &context), Err(needs(&[pages(false)])));
}

#[test]
fn collected_items_that_are_loaded_are_lists() {
    let mut loaded = Loaded::default();
    let list = json!([1, {"id": 2}, 3]);
    loaded.insert(&collected(), &list);
    let pagination = json!({"pages_collected": 2, "all_items": list});
    let told = json!({"id": "p2", "data": {"rows": [3]}, "_pagination": pagination,
        "_all_collected_items": list});
    loaded.insert(&pages(false), &told);
    let envelope = json!({"data": list, "meta": {"iterations": 2}, "_all_collected_items": list});
    loaded.insert(&pages(true), &envelope);
    let context = collecting(loaded);
    for (text, expect) in [
        ("{{ items | length }} {{ items.data | length }} {{ items.result[0] }}", json!("3 3 1")),
        ("{{ items[1].id }}", json!(2)),
        ("{{ items | map('string') | list | length }}", json!(3)),
        ("{% for item in items %}{{ loop.index }}{% endfor %}", json!("123")),
        ("{{ variable[1:] }}", json!([{"id": 2}, 3])),
        ("{{ told.data.rows }}", json!([3])),
        ("{{ told.result.id }}", json!("p2")),
        ("{{ told._pagination.pages_collected }}", json!(2)),
        ("{{ told._all_collected_items | length }}", json!(3)),
        (
            "{{ data.data | length }} {{ data[\"data\"][0] }} {{ data.meta.iterations }}",
            json!("3 1 2"),
        ),
        ("{{ data.data }}", list.clone()),
    ] {
        assert_eq!(evaluate(text, &context), Ok(expect), "{text}");
    }
}
