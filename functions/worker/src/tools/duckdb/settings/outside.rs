//! What a call declares: folders, credentials, other databases; as rules and the statements for them.

use serde_json::{Map, Value};

use super::{absolute, is_on};
use crate::sql::identifier::quote_part;
use crate::tool::ToolError;
use crate::tools::duckdb::protocol::Rules;

type Fields = Map<String, Value>;

/// Keys of a map that is one credential, not a map of aliases.
const ONE: [&str; 7] = ["type", "service", "db_host", "host", "db_user", "access_key_id", "key_id"];
/// The name of a database whose credential has none, as `NoETL` has it.
const ALIAS: &str = "postgres_db";
/// Seconds to connect to another database.
const CONNECT_SECONDS: u32 = 10;

/// What is declared so far.
#[derive(Debug, Default)]
pub(super) struct Outside {
    pub(super) rules: Rules,
    pub(super) secrets: Vec<String>,
    pub(super) created: Vec<String>,
    pub(super) attached: Vec<String>,
}

impl Outside {
    /// `files`: a folder, an address that others begin with, or a list of them.
    pub(super) fn declare_files(&mut self, given: Option<&Value>) -> Result<(), ToolError> {
        let places: Vec<&Value> = match given {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Array(places)) => places.iter().collect(),
            Some(place) => vec![place],
        };
        for place in places {
            let Some(text) = place.as_str().map(str::trim).filter(|text| !text.is_empty()) else {
                return Err(ToolError::input(format!("`files` names `{place}`; write a folder")));
            };
            if text.contains("://") {
                self.load("httpfs");
                self.allow(text);
                continue;
            }
            let folder = absolute(text)?;
            if !folder.is_dir() {
                return Err(ToolError::input(format!(
                    "`files` names `{text}`, which is no folder; name a folder, and create it first"
                )));
            }
            self.allow(&folder.to_string_lossy());
        }
        Ok(())
    }

    /// `auth`: one credential, or a map from alias to credential; each becomes a secret, and a database
    /// with tables is attached under its alias.
    pub(super) fn declare_auth(&mut self, config: &Fields) -> Result<(), ToolError> {
        let Some(auth) = auth(config)? else { return Ok(()) };
        if is_one(auth) {
            // The only credential is that of the attachments that name none.
            if attachments(config)?
                .iter()
                .any(|other| !other.contains_key("auth") && is_server(other))
            {
                return Ok(());
            }
            let named = ["db_alias", "alias"].iter().find_map(|key| {
                config.get(*key).or_else(|| auth.get(*key)).and_then(Value::as_str)
            });
            return self.declare(named.unwrap_or(ALIAS), auth, is_on(config.get("read_only")));
        }
        for (alias, fields) in auth {
            let Value::Object(fields) = fields else {
                return Err(ToolError::input(format!(
                    "`auth.{alias}` is no credential; write `{alias}: {{credential: name}}`"
                )));
            };
            // One that `attach` names is attached there, as it says.
            if !attachments(config)?.iter().any(|other| text(other, &["auth"]) == Some(alias)) {
                self.declare(alias, fields, is_on(fields.get("read_only")))?;
            }
        }
        Ok(())
    }

    /// `attach`: a list of databases.
    pub(super) fn declare_attach(&mut self, config: &Fields) -> Result<(), ToolError> {
        for other in attachments(config)? {
            let kind = text(other, &["type", "kind"]).unwrap_or("duckdb");
            let Some(alias) = text(other, &["alias", "name", "as"]) else {
                let message = "an entry of `attach` has no `alias`; name the database";
                return Err(ToolError::input(message));
            };
            let read_only = is_on(other.get("read_only"));
            match kind {
                "postgres" | "postgresql" => {
                    let fields = match other.get("auth") {
                        Some(Value::Object(fields)) => Some(fields),
                        Some(Value::String(name)) => {
                            auth(config)?.and_then(|auth| auth.get(name)?.as_object())
                        }
                        // The only credential that there is.
                        _ => auth(config)?.filter(|auth| is_one(auth)),
                    };
                    let fields = fields.ok_or_else(|| unknown_auth(alias, other.get("auth")))?;
                    self.attach_postgres(alias, fields, read_only);
                }
                "sqlite" | "duckdb" => self.attach_file(kind, alias, other, read_only)?,
                other => {
                    return Err(ToolError::input(format!(
                        "`attach` names `{alias}` of type `{other}`; write `postgres`, `sqlite` or \
                         `duckdb`"
                    )));
                }
            }
        }
        Ok(())
    }

    fn declare(&mut self, alias: &str, fields: &Fields, read_only: bool) -> Result<(), ToolError> {
        let said = text(fields, &["type", "service", "db_type"]).unwrap_or_default();
        let kind = match said.to_ascii_lowercase().as_str() {
            "" if text(fields, &["db_host", "host"]).is_some() => "postgres".to_owned(),
            "" if text(fields, &["key_id", "access_key_id"]).is_some() => "s3".to_owned(),
            said => said.to_owned(),
        };
        match kind.as_str() {
            "postgres" | "postgresql" => {
                self.attach_postgres(alias, fields, read_only);
                Ok(())
            }
            "sqlite" | "duckdb" => self.attach_file(&kind, alias, fields, read_only),
            "s3" | "s3_hmac" | "hmac" | "aws" | "gcs" | "gcs_hmac" => {
                let cloud = if kind.starts_with("gcs") { "gcs" } else { "s3" };
                self.create_cloud(alias, cloud, fields);
                Ok(())
            }
            _ => Err(ToolError::input(format!(
                "`auth.{alias}` is a credential of type `{kind}`, which DuckDB has no use for here; \
                 `postgres`, `sqlite`, `duckdb`, `s3`, `hmac` and `gcs_hmac` work"
            ))),
        }
    }

    fn attach_postgres(&mut self, alias: &str, fields: &Fields, read_only: bool) {
        self.load("postgres_scanner");
        let mut options = vec!["TYPE postgres".to_owned()];
        let parts: [(&str, &[&str]); 5] = [
            ("HOST", &["db_host", "host"]),
            ("PORT", &["db_port", "port"]),
            ("DATABASE", &["db_name", "database", "dbname"]),
            ("USER", &["db_user", "user", "username"]),
            ("PASSWORD", &["db_password", "password"]),
        ];
        for (option, keys) in parts {
            if let Some(value) = value(fields, keys) {
                options.push(format!("{option} {}", quoted(&value)));
                if option == "PASSWORD" {
                    self.hide(value);
                }
            }
        }
        let connection = if let Some(given) = text(fields, &["db_conn_string"]) {
            self.hide(given.to_owned());
            given.to_owned()
        } else {
            let mode = text(fields, &["sslmode"]).map(|mode| format!(" sslmode={mode}"));
            format!("connect_timeout={CONNECT_SECONDS}{}", mode.unwrap_or_default())
        };
        let name = quote_part(alias);
        self.create(alias, &options);
        let read_only = if read_only { ", READ_ONLY" } else { "" };
        self.rules.setup.push(format!(
            "ATTACH {} AS {name} (TYPE postgres, SECRET {name}{read_only})",
            quoted(&connection)
        ));
        self.attached.push(alias.to_owned());
    }

    fn attach_file(
        &mut self,
        kind: &str,
        alias: &str,
        fields: &Fields,
        read_only: bool,
    ) -> Result<(), ToolError> {
        let Some(path) = text(fields, &["path", "database", "db_path"]) else {
            return Err(ToolError::input(format!(
                "the {kind} database `{alias}` has no `path`; name its file"
            )));
        };
        let path = absolute(path)?.to_string_lossy().into_owned();
        if kind == "sqlite" {
            self.load("sqlite_scanner");
        }
        let read_only = if read_only { ", READ_ONLY" } else { "" };
        self.rules.setup.push(format!(
            "ATTACH {} AS {} (TYPE {kind}{read_only})",
            quoted(&path),
            quote_part(alias)
        ));
        self.rules.files.push(path);
        self.attached.push(alias.to_owned());
        Ok(())
    }

    fn create_cloud(&mut self, alias: &str, kind: &str, fields: &Fields) {
        self.load("httpfs");
        let mut options = vec![format!("TYPE {kind}")];
        let parts: [(&str, &[&str]); 5] = [
            ("KEY_ID", &["key_id", "access_key_id", "aws_access_key_id", "access_key"]),
            ("SECRET", &["secret_key", "secret", "secret_access_key", "aws_secret_access_key"]),
            ("SESSION_TOKEN", &["session_token", "aws_session_token"]),
            ("REGION", &["region", "aws_region"]),
            ("URL_STYLE", &["url_style"]),
        ];
        for (option, keys) in parts {
            if let Some(value) = value(fields, keys) {
                options.push(format!("{option} {}", quoted(&value)));
                if matches!(option, "SECRET" | "SESSION_TOKEN") {
                    self.hide(value);
                }
            }
        }
        if let Some(endpoint) = text(fields, &["endpoint", "endpoint_url"]) {
            let plain = endpoint.strip_prefix("http://");
            let host = plain.or_else(|| endpoint.strip_prefix("https://")).unwrap_or(endpoint);
            options.push(format!("ENDPOINT {}", quoted(host.trim_end_matches('/'))));
            let is_plain = plain.is_some() || fields.get("use_ssl") == Some(&Value::Bool(false));
            options.push(format!("USE_SSL {}", !is_plain));
            if text(fields, &["url_style"]).is_none() {
                options.push("URL_STYLE 'path'".to_owned());
            }
        }
        let bucket = text(fields, &["bucket"]).map(|bucket| format!("{kind}://{bucket}/"));
        let scope = text(fields, &["scope"]).map(str::to_owned).or(bucket);
        if let Some(scope) = &scope {
            options.push(format!("SCOPE {}", quoted(scope)));
        }
        self.create(alias, &options);
        match (scope, kind) {
            (Some(scope), _) => self.allow(&scope),
            (None, "gcs") => ["gcs://", "gs://"].iter().for_each(|place| self.allow(place)),
            (None, _) => ["s3://", "s3a://"].iter().for_each(|place| self.allow(place)),
        }
    }

    fn create(&mut self, alias: &str, options: &[String]) {
        let name = quote_part(alias);
        let options = options.join(", ");
        self.rules.setup.push(format!("CREATE OR REPLACE TEMPORARY SECRET {name} ({options})"));
        self.created.push(alias.to_owned());
    }

    /// Keeps a secret out of errors, also as SQL writes it.
    fn hide(&mut self, secret: String) {
        self.secrets.push(secret.replace('\'', "''"));
        self.secrets.push(secret);
    }

    fn load(&mut self, extension: &str) {
        if !self.rules.extensions.iter().any(|known| known == extension) {
            self.rules.extensions.push(extension.to_owned());
        }
    }

    fn allow(&mut self, place: &str) {
        self.rules.folders.push(place.to_owned());
    }
}

fn auth(config: &Fields) -> Result<Option<&Fields>, ToolError> {
    match config.get("auth") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(fields)) => Ok(Some(fields).filter(|fields| !fields.is_empty())),
        Some(_) => Err(ToolError::input(
            "`auth` is no credential; write `auth: {alias: {credential: name}}`",
        )),
    }
}

fn is_one(auth: &Fields) -> bool {
    ONE.iter().any(|key| auth.get(*key).is_some_and(|value| !value.is_object()))
}

fn attachments(config: &Fields) -> Result<Vec<&Fields>, ToolError> {
    let wrong = || ToolError::input("`attach` is a list of `{type, auth or path, alias}`");
    match config.get("attach") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(only)) => Ok(vec![only]),
        Some(Value::Array(list)) => {
            list.iter().map(|entry| entry.as_object().ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn is_server(other: &Fields) -> bool {
    text(other, &["type", "kind"]).is_some_and(|kind| kind.starts_with("postgres"))
}

fn unknown_auth(alias: &str, given: Option<&Value>) -> ToolError {
    let named = given.and_then(Value::as_str);
    let what = named.map_or_else(
        || format!("`attach` has no `auth` for `{alias}`"),
        |name| format!("`attach` names the credential `{name}` for `{alias}`, which `auth` lacks"),
    );
    ToolError::input(format!(
        "{what}; write `auth: {{{alias}: {{type: postgres, credential: name}}}}`"
    ))
}

/// The first of the keys that has a text.
fn text<'a>(fields: &'a Fields, keys: &[&str]) -> Option<&'a str> {
    let texts = keys.iter().filter_map(|key| fields.get(*key)?.as_str());
    texts.map(str::trim).find(|text| !text.is_empty())
}

/// As [`text`], or a number.
fn value(fields: &Fields, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| match fields.get(*key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// A text as SQL writes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
