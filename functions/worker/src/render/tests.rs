use serde_json::json;

use super::*;

#[test]
fn only_text_with_braces_is_a_template() {
    for (value, expect) in [
        (json!("plain"), false),
        (json!({"a": ["{ x }", 1, null]}), false),
        (json!("{{ x }}"), true),
        (json!({"a": [{"b": "{% if x %}"}]}), true),
        (json!("{# comment #}"), true),
    ] {
        assert_eq!(is_template(&value), expect, "{value}");
    }
}

#[test]
fn mentioned_secrets_are_found() {
    let value = json!({
        "a": "{{ secret.ONE }} {{ x.secret.NOT }} {{ my_secret.NOT }}",
        "b": ["{{ secret['two-2'] ~ secret[\"three\"] }}", "secret.NO_TEMPLATE"],
        "c": "{{ secret | default('') }} {{ secret.FOUR.field }}",
    });
    let mut found = BTreeSet::new();
    mentions(&value, "secret", &mut found);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["FOUR", "ONE", "three", "two-2"]);
}

#[test]
fn words_are_whole() {
    for (text, name, expect) in [
        ("result = context['a']", "context", true),
        ("my_context", "context", false),
        ("context2", "context", false),
        ("a.vars", "vars", true),
        ("anything", "", false),
    ] {
        assert_eq!(has_word(text, name), expect, "{text}");
    }
}

#[test]
fn d31_overrides_merge_some_maps_and_replace_the_rest() {
    let Value::Object(mut config) = json!({"endpoint": "http://a/", "params": {"page": 1, "size": 9},
        "headers": {"A": "1"}, "timeout": 3, "json": {"x": 1}})
    else {
        panic!()
    };
    let Value::Object(overrides) = json!({"url": "http://b/", "params": {"page": 2}, "headers": {"B": "2"},
        "json": {"y": 2}, "data": {"z": 3}})
    else {
        panic!()
    };
    overridden(&mut config, &overrides);
    assert_eq!(
        Value::Object(config),
        json!({"url": "http://b/", "params": {"page": 2, "size": 9}, "headers": {"A": "1", "B": "2"},
            "timeout": 3, "json": {"x": 1, "y": 2}, "data": {"z": 3}})
    );
}

#[test]
fn an_iteration_has_every_spelling_of_its_item_and_index() {
    let iterator = Iterator { name: "user".to_owned(), is_chunked: true, is_numbered: true };
    let names: Map<String, Value> = iteration(&iterator, 2, 3, &json!([1])).into_iter().collect();
    assert_eq!(
        Value::Object(names),
        json!({
            "user": [1], "batch": [1], "users": [1], "loop_index": 2, "index": 2,
            "loop": {"index": 2, "index0": 2, "first": false, "last": true, "length": 3},
            "iter": {"user": [1], "index": 2},
            "_loop": {"current_index": 2, "index": 2, "item": [1], "count": 3},
        })
    );
}

/// These evaluate real templates.
mod evaluated {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use async_trait::async_trait;
    use engine_core::command::Scope;
    use engine_core::event::Entry;
    use engine_core::ids::{AggregateKey, ExecutionId};
    use engine_core::payload::{Blob, PayloadRef};
    use engine_core::ports::{PayloadStore, StateStore, Tail};

    use super::*;

    /// Holds one object, and no log.
    struct One(Blob);

    #[async_trait]
    impl PayloadStore for One {
        async fn put(&self, _blob: &Blob) -> Result<(), PortError> {
            Ok(())
        }

        async fn get(&self, reference: &PayloadRef) -> Result<Vec<u8>, PortError> {
            assert_eq!(*reference, self.0.reference);
            Ok(self.0.bytes.clone())
        }
    }

    #[async_trait]
    impl StateStore for One {
        async fn tail(&self, _key: &AggregateKey) -> Result<Option<Tail>, PortError> {
            Ok(None)
        }

        async fn commit(&self, _entry: &Entry) -> Result<(), PortError> {
            Ok(())
        }

        async fn entries(
            &self,
            _: &AggregateKey,
            _: u64,
            _: usize,
        ) -> Result<Vec<Entry>, PortError> {
            Ok(Vec::new())
        }

        async fn aggregates(&self, _id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
            Ok(Vec::new())
        }
    }

    fn inline(values: Value) -> BTreeMap<String, Payload> {
        let Value::Object(values) = values else { panic!("a map") };
        values.into_iter().map(|(name, value)| (name, Payload::Inline(value))).collect()
    }

    /// Renders `args`, then `config`, in a scope with a bit of everything; `stored` is elsewhere.
    async fn rendered(args: Value, config: Value) -> Result<(Value, Value), ToolError> {
        let blob = Blob::new(ExecutionId(7), br#"{"items":[1,2],"name":"big"}"#.to_vec());
        let mut scope = Scope {
            workload: Some(Payload::Inline(json!({"url": "http://h", "n": 5, "who": "workload"}))),
            vars: inline(json!({"who": "vars", "colour": "red"})),
            steps: inline(json!({"fetch": {"id": 1, "rows": [{"a": 1}]}, "who_step": 3})),
            args: inline(json!({"given": "by transition", "page": 2})),
        };
        scope.steps.insert("stored".to_owned(), Payload::Ref(blob.reference.clone()));
        let one = Arc::new(One(blob));
        let readers = Readers { store: one.clone(), payloads: one };
        let names = Names::new(scope, &crate::execute::tests::playbook(Vec::new()));
        let iterator = Iterator { name: "item".to_owned(), is_chunked: false, is_numbered: false };
        let iteration = iteration(&iterator, 1, 3, &json!({"k": "v{{ 7*7 }}"}));
        let private = [("secret".to_owned(), json!({"KEY": "s3cret"}))];
        let renderer = Renderer {
            readers: &readers,
            names: &names,
            execution_id: "7",
            call_id: "7.1",
            now_ms: 0,
            private: &private,
        };
        let (Value::Object(args), Value::Object(config)) = (args, config) else { panic!("maps") };
        let args = renderer.args(&[Layer::Written(args), Layer::Transition], &iteration).await?;
        let config = renderer.config(&config, &args, &iteration).await?;
        Ok((Value::Object(args), Value::Object(config)))
    }

    #[tokio::test]
    async fn inputs_keep_their_types_and_the_transition_wins() {
        let args = json!({"page": "{{ 1 }}", "rows": "{{ fetch.rows }}", "item": "{{ item }}",
            "count": "{{ workload.n + 1 }}", "big": "{{ stored }}", "text": "n={{ n }}",
            "number": "{{ n }}0", "index": "{{ loop_index }}", "id": "{{ job.uuid }}"});
        let (args, _) = rendered(args, json!({})).await.unwrap();
        assert_eq!(
            args,
            json!({"page": 2, "rows": [{"a": 1}], "item": {"k": "v{{ 7*7 }}"}, "count": 6,
                "big": {"items": [1, 2], "name": "big"}, "text": "n=5", "number": 50, "index": 1,
                "id": "7", "given": "by transition"})
        );
    }

    #[tokio::test]
    async fn d17_configuration_sees_args_first_and_coerces_only_where_it_should() {
        let config = json!({"url": "{{ workload.url }}/{{ args.page }}", "params": {"p": "{{ page }}0"},
            "headers": {"X-N": "{{ n }}0", "X-S": "{{ secret.KEY }}"}, "body": "{{ n }}0",
            "who": "{{ who }}", "shadow": "{{ fetch }}", "name": "{{ stored.name }}",
            "item": "{{ item.k }}", "plain": "{ not } a template", "given": "{{ given }}"});
        let (_, config) = rendered(json!({"fetch": "arg"}), config).await.unwrap();
        assert_eq!(
            config,
            json!({"url": "http://h/2", "params": {"p": 20}, "headers": {"X-N": "50", "X-S": "s3cret"},
                "body": "50", "who": "vars", "shadow": "arg", "name": "big", "item": "v{{ 7*7 }}",
                "plain": "{ not } a template", "given": "by transition"})
        );
    }

    #[tokio::test]
    async fn d35_code_is_rendered_only_if_it_is_a_template_that_works() {
        for (config, expect) in [
            (json!({"code": "x = {{ n }}"}), "x = 5"),
            (json!({"code": "x = f'{{nope}}'"}), "x = f'{{nope}}'"),
            (json!({"code": "x = {{1: 2}}['}}']"}), "x = {{1: 2}}['}}']"),
            (json!({"code": "x = {{ n }}", "render_code": false}), "x = {{ n }}"),
        ] {
            let (_, rendered) = rendered(json!({}), config.clone()).await.unwrap();
            assert_eq!(rendered["code"], json!(expect), "{config}");
        }
    }

    #[tokio::test]
    async fn an_undefined_name_is_a_template_error_that_names_it() {
        let error = rendered(json!({}), json!({"url": "{{ nowhere.x }}"})).await.unwrap_err();
        assert_eq!((error.kind(), error.reaction()), ("TemplateError", Reaction::Input));
        assert!(
            error.message().contains("`tool.url`") && error.message().contains("nowhere"),
            "{error}"
        );
        let error = rendered(json!({"a": "{{ secret.OTHER.x }}"}), json!({})).await.unwrap_err();
        assert!(error.message().contains("`tool.args`"), "{error}");
    }
}
