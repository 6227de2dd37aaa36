use super::read::Cursor;
use super::*;
use crate::save::Table;

async fn session(tool: &Postgres) -> Session {
    let settings = Settings::of(&fields(json!({"db_conn_string": server()}))).unwrap();
    tool.pools().session(&settings, Instant::now() + Duration::from_mins(1)).await.unwrap()
}

#[tokio::test]
async fn rows_are_read_in_pieces_while_others_are_written() {
    let tool = Postgres::default();
    let t = unique("pieces");
    let sql =
        "SELECT n AS id, n::numeric / 4 AS x, now() - now() AS span FROM generate_series(1, $1) n";
    let mut cursor = Cursor::open(session(&tool).await, sql, &[json!(10_000)]).await.unwrap();
    let config = json!({"table": t, "mode": "upsert", "keys": "id", "create": true});
    let table = Table::of(&fields(config)).unwrap();
    let writer = session(&tool).await;
    let mut target: Option<Target> = None;
    let mut written = 0;
    loop {
        let rows = cursor.next(999).await.unwrap();
        if rows.is_empty() {
            break;
        }
        if target.is_none() {
            target = Some(Target::open(&writer, &table, &rows).await.unwrap());
        }
        let Some(target) = &target else { panic!("a target") };
        written += target.write_rows(&writer, &rows, false).await.unwrap();
    }
    cursor.close().await;
    writer.finish().await;
    assert_eq!(written, 10_000);
    let sums =
        rows(&tool, &format!("SELECT count(*) AS n, sum(x) AS x, min(span) AS span FROM {t}"))
            .await;
    assert_eq!(sums, json!([{"n": 10_000, "x": 12_501_250.0, "span": "00:00:00"}]));
    rows(&tool, &format!("DROP TABLE {t}")).await;
}

#[tokio::test]
async fn a_cursor_that_is_dropped_stops_its_statement() {
    let tool = Postgres::default();
    let tag = unique("cursor");
    let sql = format!("SELECT repeat('x', 1000) AS {tag} FROM generate_series(1, 100000000)");
    let mut cursor = Cursor::open(session(&tool).await, &sql, &[]).await.unwrap();
    assert_eq!(cursor.next(10).await.unwrap().len(), 10);
    drop(cursor);
    let ask = format!(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%AS {tag} FROM%' \
         AND pid <> pg_backend_pid()"
    );
    for _ in 0..100_000 {
        if rows(&tool, &ask).await == json!([{"n": 0}]) {
            return;
        }
    }
    panic!("the statement still runs");
}

#[tokio::test]
async fn a_cursor_tells_what_is_wrong_with_its_statement() {
    let tool = Postgres::default();
    let Err(error) = Cursor::open(session(&tool).await, "SELECT * FROM nowhere", &[]).await else {
        panic!("there is no such table")
    };
    assert_eq!(error.kind(), "SqlError");
    let sql = "SELECT 10 / (5 - n) AS x FROM generate_series(1, 9) n";
    let mut cursor = Cursor::open(session(&tool).await, sql, &[]).await.unwrap();
    assert_eq!(cursor.next(3).await.unwrap().len(), 3);
    assert!(cursor.next(10).await.unwrap_err().message().contains("division by zero"));
}
