use super::*;

/// `SplitMix64`: chance that can be repeated.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Texts that try to leave their place, and random mixtures of their parts.
fn texts(canary: &str) -> Vec<String> {
    let pieces = [
        "'",
        "\"",
        "\\",
        ";",
        "--",
        "/*",
        "*/",
        "$$",
        "$1",
        ":a",
        "?",
        "%",
        "{{",
        "}}",
        "\n",
        "\r",
        "\t",
        "\u{0}",
        "\u{1}",
        "é",
        "😀",
        "\u{202e}",
        "NULL",
        "drop table",
        "{",
        "}",
        "[",
        "]",
        ",",
        "E'",
        "x",
    ];
    let mut texts = vec![
        format!("'; DROP TABLE {canary}; --"),
        format!("\"); DROP TABLE {canary}; --"),
        format!("$$; DROP TABLE {canary}; $$"),
        String::new(),
        "x'\"".repeat(350_000),
        "ü\u{0}".to_owned(),
    ];
    let mut state = 7;
    for _ in 0..150 {
        let len = draw(&mut state) % 12;
        let pick = |_| pieces[usize::try_from(draw(&mut state) % pieces.len() as u64).unwrap_or(0)];
        texts.push((0..len).map(pick).collect());
    }
    texts
}

#[tokio::test]
async fn hostile_values_are_stored_equal_or_refused() {
    let tool = Postgres::default();
    let (canary, t) = (unique("canary"), unique("hostile"));
    rows(&tool, &format!("CREATE TABLE {canary} (a int)")).await;
    rows(&tool, &format!("CREATE TABLE {t} (a text, j jsonb)")).await;
    for text in texts(&canary) {
        let has_nul = text.contains('\0');
        let params = json!({"a": text, "j": {"v": text}});
        let insert = format!("INSERT INTO {t} (a, j) VALUES (:a, :j)");
        let stored = [
            save(&tool, json!({"statement": insert, "params": params})).await,
            save(&tool, json!({"table": t, "data": params})).await,
            save(&tool, json!({"table": t, "mode": "insert", "data": [params]})).await,
            run(&tool, json!({"query": insert, "params": params})).await,
        ];
        for result in &stored {
            assert_eq!(
                result.is_err(),
                has_nul,
                "{:?}",
                &text.chars().take(80).collect::<String>()
            );
        }
        let back = json!({"query": format!("DELETE FROM {t} RETURNING a = $1 AND j->>'v' = $1 AS same"), "params": [text.replace('\0', "")]});
        let back = run(&tool, back).await.unwrap();
        let expect = if has_nul { 0 } else { 4 };
        assert_eq!(
            back["rows"],
            json!(vec![json!({"same": true}); expect]),
            "{:?}",
            &text.chars().take(80).collect::<String>()
        );
    }
    rows(&tool, &format!("SELECT * FROM {canary}")).await;
    run(&tool, json!({"query": format!("DROP TABLE {canary}; DROP TABLE {t}")})).await.unwrap();
}

#[tokio::test]
async fn hostile_names_are_names() {
    let tool = Postgres::default();
    let canary = unique("canary");
    rows(&tool, &format!("CREATE TABLE {canary} (a int)")).await;
    let hostile = format!("t\"; DROP TABLE {canary}; --");
    for config in [
        json!({"table": hostile, "data": {"a": 1}}),
        json!({"table": canary, "data": {(hostile.clone()): 1}}),
        json!({"table": canary, "data": {"a": 1}, "mode": "upsert", "key": hostile}),
        json!({"table": canary, "data": {"a": 1}, "mode": hostile}),
    ] {
        assert!(save(&tool, config.clone()).await.is_err(), "{config}");
    }
    let made = format!("{}\"); DROP TABLE {canary}; --", unique("made"));
    save(&tool, json!({"table": made, "data": {"x\"); --": 1}, "create": true})).await.unwrap();
    rows(&tool, &format!("DROP TABLE \"{}\"", made.replace('"', "\"\""))).await;
    assert_eq!(
        rows(&tool, &format!("SELECT count(*) AS n FROM {canary}")).await,
        json!([{"n": 0}])
    );
    rows(&tool, &format!("DROP TABLE {canary}")).await;
}
