//! Which servers, and who asks.

use async_nats::{ConnectOptions, ServerAddr};
use serde_json::{Map, Value};

use crate::tool::{Call, ToolError};

/// Keys of a credential that are not run, and say so.
const UNSUPPORTED: [&str; 7] =
    ["nkey", "nkey_seed", "seed", "creds", "credentials", "jwt", "creds_file"];

/// Everything that makes a connection.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Settings {
    servers: Vec<String>,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    tls: bool,
}

impl Settings {
    /// From `auth`, or from the same keys of the tool itself.
    pub(super) fn of(call: &Call<'_>) -> Result<Self, ToolError> {
        let none = Map::new();
        let auth = credential(call.config.get("auth"))?.unwrap_or(&none);
        let value = |names: &[&str]| {
            let given = |map: &Map<String, Value>| {
                names
                    .iter()
                    .find_map(|name| map.get(*name))
                    .filter(|value| !value.is_null())
                    .cloned()
            };
            given(auth).or_else(|| given(&call.config))
        };
        let own = |names: &[&str]| {
            let given = names.iter().find_map(|name| scalar(auth.get(*name)?));
            given.filter(|text| !text.is_empty())
        };
        if let Some(name) = UNSUPPORTED.iter().find(|name| own(&[name]).is_some()) {
            return Err(ToolError::input(format!(
                "`{name}` in `auth` is not run by this version of `nats`; use `user` with `password`, \
                 or `token`"
            )));
        }
        let listed = value(&["servers", "url", "nats_url", "server", "nats_servers"]);
        let mut servers = match listed {
            Some(Value::Array(list)) => list.iter().filter_map(scalar).collect(),
            Some(value) => {
                scalar(&value).unwrap_or_default().split(',').map(str::to_owned).collect()
            }
            None => Vec::new(),
        };
        if let (true, Some(host)) = (servers.is_empty(), own(&["host", "nats_host"])) {
            let port = own(&["port", "nats_port"]).unwrap_or_else(|| "4222".to_owned());
            servers.push(format!("{host}:{port}"));
        }
        servers = servers.iter().map(|server| server.trim().to_owned()).collect();
        servers.retain(|server| !server.is_empty());
        if servers.is_empty() {
            return Err(ToolError::input(
                "`nats` does not know where; give `auth` with `url` (`nats://host:4222`) or \
                 `servers`, or `url` of the tool",
            ));
        }
        let settings = Self {
            servers,
            user: own(&["user", "username", "nats_user"]),
            password: own(&["password", "nats_password"]),
            token: own(&["token", "nats_token"]),
            tls: auth.get("tls").is_some_and(|tls| scalar(tls).as_deref() == Some("true")),
        };
        settings.addresses()?;
        Ok(settings)
    }

    /// The servers to try.
    pub(super) fn addresses(&self) -> Result<Vec<ServerAddr>, ToolError> {
        let parsed = self.servers.iter().map(|server| {
            server.parse::<ServerAddr>().map_err(|error| {
                // The text may hold a password.
                ToolError::input(format!(
                    "a server of `nats` is no address ({error}); write it as `nats://host:4222`"
                ))
            })
        });
        parsed.collect()
    }

    /// The servers as a person names them, without user and password.
    pub(super) fn place(&self) -> String {
        let addresses = self.addresses().unwrap_or_default();
        let shown = addresses.iter().map(|one| format!("{}:{}", one.host(), one.port()));
        shown.collect::<Vec<_>>().join(", ")
    }

    /// How to connect.
    pub(super) fn options(&self) -> ConnectOptions {
        let options = ConnectOptions::new().name("noetl-lambda").require_tls(self.tls);
        match (&self.token, &self.user) {
            (Some(token), _) => options.token(token.clone()),
            (None, Some(user)) => {
                options.user_and_password(user.clone(), self.password.clone().unwrap_or_default())
            }
            (None, None) => options,
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// The one credential of `auth`: itself, or that of its only alias.
fn credential(auth: Option<&Value>) -> Result<Option<&Map<String, Value>>, ToolError> {
    let fields = match auth {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::Object(fields)) => fields,
        Some(_) => {
            return Err(ToolError::input(
                "`auth` is the name of a registered credential or a map with `url`, `user`, \
                 `password`, `token`",
            ));
        }
    };
    let mut aliases = fields.values().filter_map(Value::as_object);
    match (aliases.next(), aliases.next()) {
        (Some(only), None) => Ok(Some(only)),
        (Some(_), Some(_)) => Err(ToolError::input(
            "`auth` lists several credentials, and a call of `nats` carries one; keep one",
        )),
        (None, _) => Ok(Some(fields)),
    }
}
