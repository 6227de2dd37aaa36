use super::*;

fn auth(changes: Value) -> Value {
    let config: tokio_postgres::Config = server().parse().unwrap();
    let mut auth = json!({
        "db_host": "127.0.0.1",
        "db_port": config.get_ports().first().copied().unwrap_or(5432),
        "db_user": config.get_user().unwrap_or_default(),
        "db_password": String::from_utf8_lossy(config.get_password().unwrap_or_default()),
        "db_name": config.get_dbname().unwrap_or_default(),
    });
    for (key, value) in fields(changes) {
        auth[key] = value;
    }
    auth
}

#[tokio::test]
async fn a_server_that_cannot_be_used_says_which_and_why() {
    let tool = Postgres::default();
    #[rustfmt::skip]
    let cases = [
        (json!({"db_password": "not-the-password"}), "AuthenticationError", Reaction::Rejected, "correct `db_user` and `db_password`"),
        (json!({"db_port": 1}), "ConnectionError", Reaction::Transient, "127.0.0.1:1/"),
        (json!({"db_host": "no-such-host.invalid"}), "ConnectionError", Reaction::Transient, "is it running"),
        (json!({"db_name": "no_such_database"}), "SqlError", Reaction::Rejected, "correct `db_name`"),
        (json!({"sslmode": "require"}), "TlsError", Reaction::Rejected, "does not support TLS"),
        (json!({"sslmode": "verify-full", "ca": "no certificate"}), "InputError", Reaction::Input, "`sslrootcert` has no certificate"),
    ];
    for (changes, kind, reaction, expect) in cases {
        let config = json!({"auth": auth(changes.clone()), "query": "SELECT 1"});
        let error = run(&tool, config).await.unwrap_err();
        assert_eq!((error.kind(), error.reaction()), (kind, reaction), "{changes}: {error}");
        assert!(error.message().contains(expect), "{changes}: {error}");
        assert!(!error.message().contains("not-the-password"), "{error}");
    }
    let config = json!({"auth": auth(json!({"sslmode": "prefer"})), "query": "SELECT 1"});
    run(&tool, config).await.unwrap();
}

#[tokio::test]
async fn a_mistake_in_sql_is_shown_where_it_is() {
    let tool = Postgres::default();
    #[rustfmt::skip]
    let cases = [
        ("SELECT\n  1 +,\n  2", "SqlError", Reaction::Rejected, "line 2, column 6 of the statement: `,`"),
        ("SELECT COUNT(*) AS n, FROM x", "SqlError", Reaction::Rejected, "FROM"),
        ("SELECT", "", Reaction::Rejected, ""),
        ("SELECT no_such_column FROM pg_class", "SqlError", Reaction::Rejected, "no_such_column"),
        ("SELECT 'x'::int", "DataError", Reaction::Rejected, "invalid input syntax"),
        ("SELECT 1 / 0", "DataError", Reaction::Rejected, "division by zero"),
        ("DO $$ BEGIN RAISE EXCEPTION SQLSTATE '40001'; END $$", "ConflictError", Reaction::Transient, "40001"),
        ("DO $$ BEGIN RAISE EXCEPTION SQLSTATE '53300'; END $$", "ServerError", Reaction::Transient, "53300"),
        ("DO $$ BEGIN RAISE EXCEPTION SQLSTATE '42501'; END $$", "PermissionError", Reaction::Rejected, "grant it"),
        ("COPY pg_class TO STDOUT", "InputError", Reaction::Input, "needs a stream"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "ConnectionError", Reaction::Transient, "57P01"),
    ];
    for (sql, kind, reaction, expect) in cases {
        match run(&tool, json!({"query": sql})).await {
            Ok(_) => assert_eq!(kind, "", "{sql}"),
            Err(error) => {
                assert_eq!((error.kind(), error.reaction()), (kind, reaction), "{sql}: {error}");
                assert!(error.message().contains(expect), "{sql}: {error}");
            }
        }
    }
    assert_eq!(rows(&tool, "SELECT 1 AS a").await, json!([{"a": 1}]));
}

#[tokio::test]
async fn a_connection_that_drops_in_a_batch_is_transient_and_leaves_nothing() {
    let tool = Postgres::default();
    let table = unique("drop");
    run(&tool, json!({"query": format!(
        "CREATE TABLE {table} (a int); \
         CREATE FUNCTION {table}_f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.a = 50 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; \
             RETURN NEW; END $$; \
         CREATE TRIGGER {table}_t BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_f()"
    )}))
    .await
    .unwrap();
    let data: Vec<Value> = (0..100).map(|a| json!({"a": a})).collect();
    for batch in [10, 1_000] {
        let error =
            save(&tool, json!({"table": table, "data": data, "batch": batch})).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.reaction()),
            ("ConnectionError", Reaction::Transient),
            "{error}"
        );
        assert_eq!(
            rows(&tool, &format!("SELECT count(*) AS n FROM {table}")).await,
            json!([{"n": 0}])
        );
    }
    let statement =
        json!({"statement": format!("INSERT INTO {table} VALUES (:a)"), "params": data});
    let error = save(&tool, statement).await.unwrap_err();
    assert_eq!(error.reaction(), Reaction::Transient);
    assert!(error.message().starts_with("item 50:"), "{error}");
    assert_eq!(rows(&tool, &format!("SELECT count(*) AS n FROM {table}")).await, json!([{"n": 0}]));
    run(&tool, json!({"query": format!("DROP TABLE {table}; DROP FUNCTION {table}_f()")}))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_connection_that_died_while_it_rested_is_replaced() {
    let tool = Postgres::default();
    let other = Postgres::default();
    let pid = rows(&tool, "SELECT pg_backend_pid() AS pid").await[0]["pid"].clone();
    let kill = json!({"query": "SELECT pg_terminate_backend($1, 10000)", "params": [pid]});
    run(&other, kill).await.unwrap();
    assert_ne!(rows(&tool, "SELECT pg_backend_pid() AS pid").await[0]["pid"], pid);
}
