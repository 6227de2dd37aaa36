//! No secret leaves a worker: each is put where a playbook can hold one, a run does its worst with it, and
//! everything that is left is searched.

#![expect(clippy::unwrap_used, reason = "a failed call is a failed test")]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tests::binary::{Ran, command, playbook};
use tests::canary::{Place, found, places, report};
use tests::echo::Echo;
use tests::postgres::Postgres;
use tests::served::Served;

/// What the token endpoint gives out.
const TOKEN: &str = "cnry-issued/token+by?oauth~5d1e";
/// A key for the store of a server.
const MASTER_KEY: &str = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";

/// Where a secret is, and what is done with it. `NAME` and `SECRET` stand for both in the text, `PG_URL`,
/// `PG_HOST` and `PG_PORT` for the server of the tests.
struct Row {
    name: &'static str,
    /// Whether the playbook's own text holds it: the catalog then does, and nothing else may.
    is_written: bool,
    /// Whether the run ends well.
    succeeds: bool,
    /// `keychain` entries, and the tool of the one step.
    text: &'static str,
}

const fn row(name: &'static str, succeeds: bool, text: &'static str) -> Row {
    Row { name, is_written: false, succeeds, text }
}

const fn written(name: &'static str, succeeds: bool, text: &'static str) -> Row {
    Row { name, is_written: true, succeeds, text }
}

#[rustfmt::skip]
const ROWS: [Row; 32] = [
    written("auth_inline", true, "tool: {kind: http, url: 'http://{{ host }}/', auth: {type: bearer, token: 'SECRET'}}"),
    written("auth_basic_inline", false, "tool: {kind: http, url: 'http://{{ host }}/fail', auth: {type: basic, username: joe, password: 'SECRET'}}"),
    written("header_inline", true, "tool: {kind: http, url: 'http://{{ host }}/', headers: {Authorization: 'Bearer SECRET'}}"),
    row("auth_named", true, "tool: {kind: http, url: 'http://{{ host }}/', auth: NAME}"),
    row("auth_alias", true, "tool: {kind: http, url: 'http://{{ host }}/', auth: {api: NAME}}"),
    row("auth_field", true, "tool: {kind: http, url: 'http://{{ host }}/', auth: {api: NAME}, headers: {X-Other: '{{ auth.api.token }}'}}"),
    row("auth_fails", false, "tool: {kind: http, url: 'http://{{ host }}/fail', auth: NAME}"),
    row("header", true, "tool: {kind: http, url: 'http://{{ host }}/', headers: {X-Key: '{{ secret.NAME.token }}'}}"),
    row("query", true, "tool: {kind: http, url: 'http://{{ host }}/', params: {q: '{{ secret.NAME.token }}'}}"),
    row("no_connection", false, "tool: {kind: http, url: 'http://127.0.0.1:1/?q={{ secret.NAME.token }}'}"),
    row("user_of_a_url", true, "tool: {kind: http, url: 'http://joe:{{ secret.NAME.token | urlencode | replace(\"/\", \"%2F\") }}@{{ host }}/'}"),
    row("payload", true, "tool: {kind: http, method: POST, url: 'http://{{ host }}/', json: {p: '{{ secret.NAME.token }}'}}"),
    row("python", true, "tool: {kind: python, args: {s: '{{ secret.NAME.token }}'}, code: 'import base64; print(s, s.encode().hex(), base64.b64encode(s.encode())); result = {\"echo\": [s], s: 1}'}"),
    row("python_large", true, "tool: {kind: python, args: {s: '{{ secret.NAME.token }}'}, code: 'result = {\"echo\": [s] * 5000}'}"),
    row("python_fails", false, "tool: {kind: python, args: {s: '{{ secret.NAME.token }}'}, code: 'raise ValueError(s)'}"),
    row("sink", true, "tool: {kind: noop}\n    sink: {tool: {kind: http, url: 'http://{{ host }}/', data: {s: '{{ secret.NAME.token }}'}}}"),
    row("from_env", true, "tool: {kind: http, url: 'http://{{ host }}/', headers: {X-Key: '{{ secret.FROM_ENV }}'}}"),
    row("keychain", true, "tool: {kind: http, url: 'http://{{ host }}/', headers: {A: '{{ keychain.b.access_token }}', B: '{{ keychain.c.token }}'}}"),
    row("keychain_oauth", true, "tool: {kind: http, url: 'http://{{ host }}/', headers: {Authorization: 'Bearer {{ keychain.o.access_token }}'}}"),
    row("keychain_fails", false, "tool: {kind: http, url: 'http://{{ host }}/', headers: {Authorization: 'Bearer {{ keychain.f.access_token }}'}}"),
    row("postgres_password", false, "tool: {kind: postgres, auth: {type: postgres, db_host: PG_HOST, db_port: 'PG_PORT', db_user: joe, db_name: d, db_password: '{{ secret.NAME.token }}'}, query: 'select 1'}"),
    written("postgres_string", false, "tool: {kind: postgres, auth: {db_conn_string: 'host=PG_HOST port=PG_PORT user=joe dbname=d password=SECRET'}, query: 'select 1'}"),
    row("postgres_param", true, "tool: {kind: postgres, auth: {db_conn_string: 'PG_URL'}, query: 'select $1::text as s, encode(convert_to($1::text, ''UTF8''), ''hex'') as h', params: ['{{ secret.NAME.token }}']}"),
    row("postgres_statement", true, "tool: {kind: postgres, auth: {db_conn_string: 'PG_URL'}, query: \"select '{{ secret.NAME.token }}' as s\"}"),
    row("postgres_param_fails", false, "tool: {kind: postgres, auth: {db_conn_string: 'PG_URL'}, query: 'select ($1::text)::int', params: ['{{ secret.NAME.token }}']}"),
    row("sqlite_param", true, "tool: {kind: sqlite, database: ':memory:', query: 'select :s as s, hex(:s) as h', params: {s: '{{ secret.NAME.token }}'}}"),
    row("sqlite_statement_fails", false, "tool: {kind: sqlite, database: ':memory:', query: \"select '{{ secret.NAME.token }}' from missing\"}"),
    row("transfer_header", true, "tool: {kind: transfer, source: {type: http, method: POST, url: 'http://{{ host }}/', json: [{id: 1}], data_path: json, headers: {X-Key: '{{ secret.NAME.token }}'}}, target: {type: http, url: 'http://{{ host }}/', headers: {X-Key: '{{ secret.NAME.token }}'}}}"),
    row("transfer_fails", false, "tool: {kind: transfer, source: {type: http, url: 'http://{{ host }}/fail', headers: {X-Key: '{{ secret.NAME.token }}'}}, target: {type: http, url: 'http://{{ host }}/'}}"),
    row("shell_env", true, "tool: {kind: shell, env: {S: '{{ secret.NAME.token }}'}, cmd: 'echo \"$S\"; printf %s \"$S\" | base64; echo \"$S\" >&2'}"),
    row("shell_text", true, "tool: {kind: shell, cmd: \"echo '{{ secret.NAME.token }}'\"}"),
    row("shell_fails", false, "tool: {kind: shell, args: {s: '{{ secret.NAME.token }}'}, cmd: 'echo \"$S\" >&2; exit 3'}"),
];

const KEYCHAIN: &str = "keychain:
  - {name: s, kind: static, map: {secret: '{{ secret.NAME.token }}'}}
  - {name: b, kind: bearer, token: '{{ keychain.s.secret }}'}
  - {name: c, kind: credential, ref: NAME}
  - {name: o, kind: oauth2, endpoint: 'http://{{ host }}/token', data: {client_secret: '{{ keychain.s.secret }}'}}
  - {name: f, kind: oauth2, endpoint: 'http://{{ host }}/fail', params: {client_secret: '{{ keychain.s.secret }}'}}
";

impl Row {
    fn secret(&self) -> String {
        format!("cnry-{}/a+b?c~{}", self.name, self.name.len() * 7_919)
    }

    fn playbook(&self) -> String {
        let keychain = if self.text.contains("keychain.") { KEYCHAIN } else { "" };
        let text = format!("{keychain}workflow:\n  - step: start\n    {}\n", self.text);
        let text = text.replace("NAME", self.name).replace("SECRET", &self.secret());
        playbook(&if text.contains("PG_") { with_postgres(&text) } else { text })
    }

    fn credential(&self) -> Value {
        json!({"name": self.name, "type": "bearer", "data": {"type": "bearer", "token": self.secret()}})
    }

    /// What is wrong, in sentences.
    fn complaints(&self, places: &[Place]) -> String {
        let is_catalog = |place: &str| {
            place == "table playbook" || [".db", ".db-wal"].iter().any(|end| place.ends_with(end))
        };
        let mut wrong = String::new();
        for (name, secret) in [(self.name, self.secret()), ("the token", TOKEN.to_owned())] {
            let mut hits = found(&secret, places);
            hits.retain(|(place, _)| !(self.is_written && is_catalog(place)));
            wrong.push_str(&report(name, &hits));
        }
        wrong
    }
}

fn with_postgres(text: &str) -> String {
    let server = Postgres::given();
    let address = server.address();
    let (host, port) = address.rsplit_once(':').unwrap();
    text.replace("PG_URL", server.url()).replace("PG_HOST", host).replace("PG_PORT", port)
}

fn variables() -> Vec<(String, String)> {
    let from_env = ROWS.iter().find(|row| row.name == "from_env").unwrap();
    [
        ("NOETL_LOG", "debug".to_owned()),
        ("NOETL_SECRET_FROM_ENV", from_env.secret()),
        ("NOETL_MASTER_KEY", MASTER_KEY.to_owned()),
        ("NOETL_ALLOW_SHELL", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Runs a playbook; what it left is in the folder.
fn run(folder: &Path, text: &str, echo: &Echo, credential: Option<&Value>) -> Ran {
    // What goes in is not what comes out.
    let inputs = tempfile::tempdir().unwrap();
    let path = |folder: &Path, name: &str| folder.join(name).to_string_lossy().into_owned();
    let (file, given) = (path(inputs.path(), "p.yaml"), path(inputs.path(), "c.json"));
    fs::write(&file, text).unwrap();
    let (store, events) = (path(folder, "runs.db"), path(folder, "events.jsonl"));
    let host = format!("host={}", echo.host());
    let mut arguments =
        vec!["run", &file, "--json", "--store", &store, "--events", &events, "--set", &host];
    if let Some(credential) = credential {
        fs::write(&given, credential.to_string()).unwrap();
        arguments.extend(["--credential", &given]);
    }
    let output = command(arguments).envs(variables()).output().unwrap();
    fs::write(folder.join("stdout"), &output.stdout).unwrap();
    fs::write(folder.join("stderr"), &output.stderr).unwrap();
    output.into()
}

#[test]
fn no_secret_is_left_by_a_run() {
    let echo = Echo::start(TOKEN);
    let mut wrong = String::new();
    for row in &ROWS {
        let folder = tempfile::tempdir().unwrap();
        let credential = row.credential();
        let given = Some(&credential).filter(|_| row.name != "from_env");
        let ran = run(folder.path(), &row.playbook(), &echo, given);
        assert_eq!(
            ran.code,
            Some(i32::from(!row.succeeds)),
            "{}: {}\n{}",
            row.name,
            ran.stdout,
            ran.stderr
        );
        wrong.push_str(&row.complaints(&places(folder.path())));
    }
    assert_eq!(wrong, "");
}

#[test]
fn no_secret_is_left_by_a_server() {
    let echo = Echo::start(TOKEN);
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("server.db").to_string_lossy().into_owned();
    let server = Served::logged(&store, &variables(), &folder.path().join("stderr"));
    let mut answers = Vec::new();
    for row in &ROWS {
        if row.name != "from_env" {
            let posted = server.post("/api/credentials", &row.credential());
            assert_eq!(posted.status, 200, "{}", posted.body);
            answers.push((format!("answer about {}", row.name), posted.body));
        }
        let text = row.playbook().replace("tests/case", &format!("tests/{}", row.name));
        let id = server.execute(&text, &json!({"host": echo.host()}));
        let ended = server.ended(&id);
        let expect = if row.succeeds { "COMPLETED" } else { "FAILED" };
        assert_eq!(ended["status"], expect, "{}: {ended}", row.name);
        answers.push((format!("execution of {}", row.name), ended));
        for part in ["steps", "events", "status"] {
            let shown = server.get(&format!("/api/executions/{id}/{part}")).body;
            answers.push((format!("{part} of {}", row.name), shown));
        }
    }
    answers.push(("the credentials".to_owned(), server.get("/api/credentials").body));
    let (status, _) = server.stop("-TERM");
    assert!(status.success(), "{status}");
    let answers = answers.into_iter().map(|(place, shown)| (place, shown.to_string().into_bytes()));
    let places: Vec<Place> = places(folder.path()).into_iter().chain(answers).collect();
    let wrong: String = ROWS.iter().map(|row| row.complaints(&places)).collect();
    assert_eq!(wrong, "");
    assert_eq!(report("the key", &found(MASTER_KEY, &places)), "");
}

#[test]
fn the_search_finds_what_is_there() {
    const PLANT: &str = "planted/in+the?open~1";
    let code = "import base64, urllib.parse; b = s.encode(); print(s); \
                result = {\"plain\": s, \"hex\": b.hex(), \"url\": urllib.parse.quote(s, safe=\"\"), \
                \"base64\": [base64.b64encode(p + b).decode() for p in (b\"\", b\"x\", b\"xy\")], \"long\": [s] * 5000}";
    let text = playbook(&format!(
        "workflow:\n  - step: start\n    tool: {{kind: python, args: {{s: '{{{{ plant }}}}'}}, code: '{code}'}}\n"
    ));
    let text = text.replace("workflow:", &format!("workload: {{plant: '{PLANT}'}}\nworkflow:"));
    let folder = tempfile::tempdir().unwrap();
    let ran = run(folder.path(), &text, &Echo::start(TOKEN), None);
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    let hits = found(PLANT, &places(folder.path()));
    for form in ["plain", "hex", "URL", "base64"] {
        assert!(hits.iter().any(|(_, found)| *found == form), "{form}: {hits:?}");
    }
    for place in ["table aggregate", "table playbook", "runs.db.payloads", "events.jsonl", "stdout"]
    {
        assert!(hits.iter().any(|(found, _)| found.contains(place)), "{place}: {hits:?}");
    }
    let nothing = found("nobody-planted-this", &places(folder.path()));
    assert!(nothing.is_empty(), "{nothing:?}");
}
