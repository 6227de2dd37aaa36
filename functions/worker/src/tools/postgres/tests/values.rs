use super::*;

#[tokio::test]
async fn every_type_has_a_form_in_json() {
    let tool = Postgres::default();
    let mood = unique("mood");
    run(&tool, json!({"query": format!(
        "CREATE TYPE {mood} AS ENUM ('sad', 'glad'); CREATE TYPE {mood}_pair AS (a int, b text); \
         CREATE DOMAIN {mood}_domain AS numeric(10, 2)"
    )}))
    .await
    .unwrap();
    #[rustfmt::skip]
    let cases = [
        ("true", json!(true)), ("null::int", json!(null)), ("1::int2", json!(1)), ("9223372036854775807", json!(i64::MAX)), ("0.1::float4", json!(0.1)),
        ("0.1::float8", json!(0.1)), ("'NaN'::float8", json!("NaN")), ("'-Infinity'::float4", json!("-Infinity")), ("1.50::numeric", json!(1.5)),
        ("0.0001::numeric", json!(0.0001)), ("-12345678.9::numeric", json!(-12_345_678.9)), ("10000000000000000000000::numeric", json!("10000000000000000000000")),
        ("1.00000000000000000001::numeric", json!("1.00000000000000000001")), ("100000::numeric", json!(100_000)), ("'NaN'::numeric", json!("NaN")),
        ("'é'::text", json!("é")), ("'a'::char(3)", json!("a  ")), ("'b'::varchar", json!("b")), ("'n'::name", json!("n")), ("'c'::\"char\"", json!("c")),
        ("'\\x00ff'::bytea", json!("\\x00ff")), ("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid", json!("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
        ("date '2026-02-28'", json!("2026-02-28")), ("time '12:30:00.5'", json!("12:30:00.500000")), ("timetz '12:30:00+02'", json!("12:30:00+02")),
        ("timestamp '1969-12-31 23:59:59.25'", json!("1969-12-31T23:59:59.250000")), ("timestamptz '2026-01-02 03:04:05+02'", json!("2026-01-02T01:04:05+00:00")),
        ("'infinity'::timestamptz", json!("infinity")), ("interval '1 year 2 days 03:04:05.6'", json!("1 year 2 days 03:04:05.6")),
        ("'{\"a\": [1, null]}'::json", json!({"a": [1, null]})), ("'[true]'::jsonb", json!([true])), ("'null'::jsonb", json!(null)),
        ("ARRAY[[1, 2], [3, null]]", json!([[1, 2], [3, null]])), ("'{}'::text[]", json!([])), ("ARRAY['a,b', 'c\"d']", json!(["a,b", "c\"d"])),
        ("ARRAY[interval '1 day']", json!(["1 day"])), ("ARRAY['[1,3)'::int4range]", json!(["[1,3)"])), ("ARRAY['{\"a\": 1}'::jsonb]", json!([{"a": 1}])),
        ("'[1,5)'::int4range", json!("[1,5)")), ("'{[1,2),[5,6)}'::int4multirange", json!("{[1,2),[5,6)}")), ("'10.0.0.0/8'::cidr", json!("10.0.0.0/8")),
        ("'127.0.0.1'::inet", json!("127.0.0.1")), ("'08:00:2b:01:02:03'::macaddr", json!("08:00:2b:01:02:03")), ("12.5::money", json!("$12.50")),
        ("B'101'", json!("101")), ("point '(1,2)'", json!("(1,2)")), ("'a & b'::tsquery", json!("'a' & 'b'")), ("'b a'::tsvector", json!("'a' 'b'")),
        ("'<a/>'::xml", json!("<a/>")), ("row(1, 'x')", json!("(1,x)")), ("'pg_class'::regclass", json!("pg_class")), ("pg_sleep(0)", json!(null)),
        ("1::oid", json!(1)), ("'0/16B'::pg_lsn", json!("0/16B")), ("'$.a'::jsonpath", json!("$.\"a\"")), ("'a=>1'::text", json!("a=>1")),
    ];
    for (sql, expect) in cases {
        assert_eq!(
            rows(&tool, &format!("SELECT {sql} AS v")).await,
            json!([{"v": expect}]),
            "{sql}"
        );
    }
    let own = [
        (format!("'glad'::{mood}"), json!("glad")),
        (format!("ARRAY['glad', 'sad']::{mood}[]"), json!(["glad", "sad"])),
        (format!("(1, 'x y')::{mood}_pair"), json!("(1,\"x y\")")),
        (format!("1.5::{mood}_domain"), json!(1.5)),
        (format!("ARRAY[1.5]::{mood}_domain[]"), json!([1.5])),
    ];
    for (sql, expect) in own {
        assert_eq!(
            rows(&tool, &format!("SELECT {sql} AS v")).await,
            json!([{"v": expect}]),
            "{sql}"
        );
    }
    run(
        &tool,
        json!({"query": format!("DROP TYPE {mood}, {mood}_pair; DROP DOMAIN {mood}_domain")}),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn rows_of_changes_and_unusual_statements_are_read_too() {
    let tool = Postgres::default();
    let table = unique("odd");
    let statements = format!(
        "CREATE TABLE {table} (id serial, span interval); \
         INSERT INTO {table} (span) VALUES ('1 day') RETURNING id, span; \
         WITH x AS (INSERT INTO {table} (span) VALUES ('2 days') RETURNING span) SELECT span FROM x; \
         SELECT 1 AS a, 2 AS a; SHOW server_encoding; EXPLAIN (COSTS OFF) SELECT 1; \
         SELECT span -- with a comment\n FROM {table} ORDER BY id DESC -- at the end"
    );
    let result = run(&tool, json!({"query": statements})).await.unwrap();
    assert_eq!(result["command_1"]["rows"], json!([{"id": 1, "span": "1 day"}]));
    assert_eq!(result["command_2"]["rows"], json!([{"span": "2 days"}]));
    assert_eq!(result["command_3"]["rows"], json!([{"a": 1, "a_2": 2}]));
    assert_eq!(result["command_4"]["rows"], json!([{"server_encoding": "UTF8"}]));
    assert_eq!(result["rows"], json!([{"span": "2 days"}, {"span": "1 day"}]));
    let config = json!({
        "query": format!("INSERT INTO {table} (span) VALUES (:span) RETURNING span"),
        "params": {"span": "3 days"},
    });
    assert_eq!(run(&tool, config).await.unwrap()["rows"], json!([{"span": "3 days"}]));
    rows(&tool, &format!("DROP TABLE {table}")).await;
}
