//! What every [`Secrets`] promises, and what a credential file may hold.

use std::path::PathBuf;

use adapters::embedded::secrets::FileSecrets;
use engine_core::limits::CREDENTIAL_BYTES_MAX;
use engine_core::ports::{PortErrorKind, Secrets};
use serde_json::json;

use crate::samples::chain;

const CANARY: &str = "hunter2-canary";

fn file(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("credential.json");
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_credential_is_found_by_name_and_the_last_file_wins() {
    let folder = tempfile::tempdir().unwrap();
    let mut secrets = FileSecrets::default();
    let error = secrets.credential("pg").await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound);
    assert!(error.to_string().contains("(there is: none)"), "{error}");

    for host in ["old", "new"] {
        let credential = json!({"name": "pg", "type": "postgres", "data": {"db_host": host}});
        secrets.add_file(&file(&folder, &credential.to_string())).unwrap();
    }
    assert_eq!(secrets.credential("pg").await.unwrap(), json!({"db_host": "new"}));
    assert!(secrets.names().eq(["pg"]));
    let error = secrets.credential("gp").await.unwrap_err();
    assert!(error.to_string().contains("(there is: `pg`)"), "{error}");
}

#[test]
fn a_file_that_is_no_credential_is_refused_without_telling_what_it_holds() {
    let cases = [
        (format!(r#"{{"name": "pg", "data": {{"p": "{CANARY}"}}"#), "is not a JSON object"),
        (format!(r#""{CANARY}""#), "is not a JSON object"),
        (format!(r#"{{"data": {{"p": "{CANARY}"}}}}"#), "must hold `name`"),
        (format!(r#"{{"name": "", "data": {{"p": "{CANARY}"}}}}"#), "must hold `name`"),
        (format!(r#"{{"name": "pg", "data": "{CANARY}"}}"#), "must hold `name`"),
        (format!("{CANARY}{}", " ".repeat(CREDENTIAL_BYTES_MAX)), "is larger than"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (text, problem) in cases {
        let error = FileSecrets::default().add_file(&file(&folder, &text)).unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Refused);
        let shown = format!("{} {error:?}", chain(&error));
        assert!(shown.contains(problem) && !shown.contains(CANARY), "{shown}");
    }
    let error = FileSecrets::default().add_file(&folder.path().join("none")).unwrap_err();
    assert!(error.to_string().ends_with("cannot be read"), "{error}");
}
