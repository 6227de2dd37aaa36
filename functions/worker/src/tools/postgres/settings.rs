//! Which server, as whom: the fields of a credential, or a connection string.

use std::str::FromStr;
use std::time::Duration;

use engine_core::limits::{POSTGRES_CONNECT_MS, POSTGRES_SILENCE_MS};
use serde_json::{Map, Value};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::tool::ToolError;

/// How far a connection is protected (`sslmode`).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Protection {
    /// Plain.
    Disable,
    /// Encrypted if the server can.
    Prefer,
    /// Encrypted; the certificate is checked if `sslrootcert` is there.
    Require,
    /// Encrypted, with a certificate of a known authority.
    VerifyCa,
    /// And for that host.
    VerifyFull,
}

impl Protection {
    fn of(text: &str) -> Result<Self, ToolError> {
        match text.trim().to_ascii_lowercase().as_str() {
            "disable" => Ok(Self::Disable),
            "prefer" | "allow" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            other => Err(ToolError::input(format!(
                "`sslmode: {other}` is not known; write `disable`, `prefer`, `require`, `verify-ca` \
                 or `verify-full`"
            ))),
        }
    }
}

/// Everything that makes one pool of connections different from another. Never shown: it has the password.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Settings {
    host: String,
    port: u16,
    user: String,
    password: Option<String>,
    database: String,
    protection: Protection,
    /// Certificates of authorities, as PEM.
    authorities: Option<String>,
}

const CONNECTION_STRINGS: [&str; 4] = ["db_conn_string", "conn_string", "connection_string", "dsn"];
const AUTHORITIES: [&str; 5] = ["sslrootcert", "db_sslrootcert", "ca", "ca_cert", "ssl_ca"];

impl Settings {
    /// From a resolved `auth`, or from the same fields beside it.
    ///
    /// # Errors
    /// [`ToolError::input`] for missing fields, with the names that are there.
    pub(crate) fn of(config: &Map<String, Value>) -> Result<Self, ToolError> {
        let auth = config.get("auth").and_then(Value::as_object).filter(|auth| !auth.is_empty());
        let fields = Fields(auth.map_or(config, single));
        let given = match fields.text(&CONNECTION_STRINGS) {
            Some(text) => Given::parse(&text)?,
            None => Given::default(),
        };
        let host = fields.text(&["db_host", "host", "hostname"]).or(given.host);
        let user = fields.text(&["db_user", "user", "username"]).or(given.user);
        let database = fields.text(&["db_name", "database", "dbname"]).or(given.database);
        let (Some(host), Some(user), Some(database)) = (host, user, database) else {
            return Err(fields.incomplete(auth.is_some()));
        };
        let mode = fields.text(&["sslmode", "db_sslmode", "ssl_mode"]).or(given.sslmode);
        let protection = match mode {
            Some(text) => Protection::of(&text)?,
            None if is_local(&host) => Protection::Disable,
            None => Protection::Prefer,
        };
        let port = match fields.text(&["db_port", "port"]) {
            Some(text) => text.trim().parse().map_err(|_bad| {
                ToolError::input(format!("`db_port: {text}` is no port; write a number to 65535"))
            })?,
            None => given.port.unwrap_or(5432),
        };
        let password = fields.text(&["db_password", "password"]).or(given.password);
        let authorities = fields.text(&AUTHORITIES);
        Ok(Self { host, port, user, password, database, protection, authorities })
    }

    /// `host:port/database`, for people.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn protection(&self) -> Protection {
        self.protection
    }

    pub(crate) fn authorities(&self) -> Option<&str> {
        self.authorities.as_deref()
    }

    /// What the driver is given.
    pub(crate) fn driver(&self) -> Config {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .application_name("noetl-lambda")
            .connect_timeout(Duration::from_millis(POSTGRES_CONNECT_MS))
            .tcp_user_timeout(Duration::from_millis(POSTGRES_SILENCE_MS))
            .ssl_mode(match self.protection {
                Protection::Disable => SslMode::Disable,
                Protection::Prefer => SslMode::Prefer,
                Protection::Require | Protection::VerifyCa | Protection::VerifyFull => {
                    SslMode::Require
                }
            });
        if let Some(password) = &self.password {
            config.password(password);
        }
        config
    }
}

fn is_local(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1") || host.starts_with('/')
}

/// The credential in a map of aliases that has only one.
fn single(auth: &Map<String, Value>) -> &Map<String, Value> {
    let mut maps = auth.values().filter_map(Value::as_object);
    match (maps.next(), maps.next()) {
        (Some(only), None) if auth.len() == 1 => only,
        _ => auth,
    }
}

struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn text(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| match self.0.get(*name)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    }

    fn incomplete(&self, has_auth: bool) -> ToolError {
        let needed = "`db_host`, `db_user` and `db_name` (or `db_conn_string`)";
        if !has_auth {
            return ToolError::input(format!(
                "it is not said which database: write `auth` with the name of a credential that has \
                 {needed}"
            ));
        }
        let names: Vec<_> = self.0.keys().map(|name| format!("`{name}`")).collect();
        ToolError::input(format!(
            "the credential in `auth` has no {needed}; its fields are {}",
            names.join(", ")
        ))
    }
}

/// What a connection string says.
#[derive(Default)]
struct Given {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    sslmode: Option<String>,
}

impl Given {
    fn parse(text: &str) -> Result<Self, ToolError> {
        // The driver does not know these two; the mode that it knows does what they need of it.
        let mode = ["verify-full", "verify-ca"]
            .into_iter()
            .find(|mode| text.contains(&format!("sslmode={mode}")));
        let known = mode.map_or_else(|| text.to_owned(), |mode| text.replace(mode, "require"));
        let config = Config::from_str(&known).map_err(|_has_secrets| {
            ToolError::input(
                "`db_conn_string` is no connection string; write \
                 `postgresql://user:password@host:5432/database`",
            )
        })?;
        let host = config.get_hosts().first().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let sslmode = mode.map(str::to_owned).or_else(|| match config.get_ssl_mode() {
            SslMode::Disable => Some("disable".to_owned()),
            SslMode::Require => Some("require".to_owned()),
            // The driver's own default: nothing was said.
            _ => None,
        });
        Ok(Self {
            host,
            port: config.get_ports().first().copied(),
            user: config.get_user().map(str::to_owned),
            password: config.get_password().map(|raw| String::from_utf8_lossy(raw).into_owned()),
            database: config.get_dbname().map(str::to_owned),
            sslmode,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(config: Value) -> Result<Settings, ToolError> {
        let Value::Object(config) = config else { panic!("a map") };
        Settings::of(&config)
    }

    #[test]
    fn every_spelling_of_a_credential_is_read() {
        #[rustfmt::skip]
        let cases = [
            (json!({"auth": {"db_host": "h", "db_port": "6000", "db_user": "u", "db_password": "p", "db_name": "d"}}), "h:6000/d", Protection::Prefer),
            (json!({"auth": {"host": "localhost", "port": 5433, "username": "u", "database": "d"}}), "localhost:5433/d", Protection::Disable),
            (json!({"auth": {"pg": {"type": "postgres", "host": "h", "user": "u", "dbname": "d", "sslmode": "verify-full"}}}), "h:5432/d", Protection::VerifyFull),
            (json!({"db_host": "h", "db_user": "u", "db_name": "d", "query": "SELECT 1"}), "h:5432/d", Protection::Prefer),
            (json!({"auth": {"db_conn_string": "postgresql://u:p@h:6001/d?sslmode=require"}}), "h:6001/d", Protection::Require),
            (json!({"auth": {"db_conn_string": "postgresql://u:p@h/d?sslmode=verify-ca"}}), "h:5432/d", Protection::VerifyCa),
            (json!({"auth": {"dsn": "host=h user=u dbname=d sslmode=disable"}}), "h:5432/d", Protection::Disable),
        ];
        for (config, place, protection) in cases {
            let found =
                settings(config.clone()).unwrap_or_else(|error| panic!("{config}: {error}"));
            assert_eq!(
                (found.place().as_str(), found.protection()),
                (place, protection),
                "{config}"
            );
            assert_eq!(found.user(), "u");
        }
    }

    #[test]
    fn an_incomplete_credential_says_what_it_has() {
        #[rustfmt::skip]
        let cases = [
            (json!({}), "which database"),
            (json!({"auth": {"db_host": "h", "db_passwort": "x"}}), "its fields are `db_host`, `db_passwort`"),
            (json!({"auth": {"host": "h", "user": "u", "database": "d", "port": "x"}}), "`db_port: x`"),
            (json!({"auth": {"host": "h", "user": "u", "database": "d", "sslmode": "on"}}), "`sslmode: on`"),
            (json!({"auth": {"dsn": "postgresql://u:topsecret@h:port/d"}}), "is no connection string"),
        ];
        for (config, expect) in cases {
            let error = settings(config.clone()).err().unwrap_or_else(|| panic!("{config}"));
            assert!(error.message().contains(expect), "{error}");
            assert!(!error.message().contains("topsecret"));
        }
    }
}
