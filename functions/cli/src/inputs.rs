//! The inputs of an execution as the command line gives them.

use std::fs;
use std::str::FromStr;

use anyhow::{Context as _, anyhow, bail};
use engine_core::limits::CALLBACK_BYTES_MAX;
use serde_json::{Map, Value};

/// `--set a.b=value`: one input, at a dotted path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    path: Vec<String>,
    value: Value,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((path, value)) = text.split_once('=') else {
            return Err("write `name=value`, or `outer.inner=value`".to_owned());
        };
        let path: Vec<String> = path.split('.').map(|part| part.trim().to_owned()).collect();
        if path.iter().any(String::is_empty) {
            return Err("a name between the dots is empty".to_owned());
        }
        // What is no JSON is text: `--set city=Oslo` needs no quotes.
        let value = serde_json::from_str(value).unwrap_or_else(|_not_json| value.into());
        Ok(Self { path, value })
    }
}

/// `--payload`: JSON, or a file of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    /// `{...}`
    Json(Map<String, Value>),
    /// `@path`
    File(String),
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix('@') {
            return Ok(Self::File(path.to_owned()));
        }
        object(text).map(Self::Json).map_err(|error| format!("{error:#}"))
    }
}

/// `--data`: any JSON, or a file of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    /// A value.
    Json(Value),
    /// `@path`
    File(String),
}

impl FromStr for Data {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('@') {
            Some(path) => Ok(Self::File(path.to_owned())),
            None => serde_json::from_str(text)
                .map(Self::Json)
                .map_err(|error| format!("not JSON: {error}; quote texts twice, as in '\"yes\"'")),
        }
    }
}

impl Data {
    /// The value.
    ///
    /// # Errors
    /// If the file cannot be read or holds no JSON, or if there is too much of it.
    pub(crate) fn read(&self) -> anyhow::Result<Value> {
        let value = match self {
            Self::Json(value) => value.clone(),
            Self::File(path) => {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("data file `{path}` cannot be read"))?;
                serde_json::from_str(&text)
                    .with_context(|| format!("data file `{path}` is not JSON"))?
            }
        };
        let bytes = value.to_string().len();
        if bytes > CALLBACK_BYTES_MAX {
            bail!(
                "the data has {bytes} bytes, a callback may bring {CALLBACK_BYTES_MAX}; \
                 store it elsewhere and answer with its place"
            );
        }
        Ok(value)
    }
}

/// The payload of an execution: settings win over what is given.
///
/// # Errors
/// If the file cannot be read or holds no JSON object, or if a setting lies inside a value that is no object.
pub(crate) fn payload(
    given: Option<&Given>,
    settings: &[Setting],
) -> anyhow::Result<Map<String, Value>> {
    let mut payload = match given {
        None => Map::new(),
        Some(Given::Json(object)) => object.clone(),
        Some(Given::File(path)) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("payload file `{path}` cannot be read"))?;
            object(&text).with_context(|| format!("payload file `{path}`"))?
        }
    };
    for setting in settings {
        set(&mut payload, setting)?;
    }
    Ok(payload)
}

fn object(text: &str) -> anyhow::Result<Map<String, Value>> {
    match serde_json::from_str(text).context("the payload is not JSON")? {
        Value::Object(object) => Ok(object),
        other => Err(anyhow!("the payload must be a JSON object `{{...}}`, not `{other}`")),
    }
}

fn set(payload: &mut Map<String, Value>, setting: &Setting) -> anyhow::Result<()> {
    let Some((last, outer)) = setting.path.split_last() else { return Ok(()) };
    let mut place = payload;
    for part in outer {
        let inner = place.entry(part.clone()).or_insert_with(|| Value::Object(Map::new()));
        match inner {
            Value::Object(object) => place = object,
            other => bail!(
                "`--set {}=...`: `{part}` is `{other}` and cannot hold `{last}`",
                setting.path.join(".")
            ),
        }
    }
    place.insert(last.clone(), setting.value.clone());
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(texts: &[&str]) -> Vec<Setting> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn settings_are_json_or_text_and_nest_by_dots() {
        #[rustfmt::skip]
        let cases = [
            (vec!["n=3"],                  json!({"n": 3})),
            (vec!["t=true"],               json!({"t": true})),
            (vec!["t=null"],               json!({"t": null})),
            (vec!["city=Oslo"],            json!({"city": "Oslo"})),
            (vec!["city=\"3\""],           json!({"city": "3"})),
            (vec!["q=a=b"],                json!({"q": "a=b"})),
            (vec!["empty="],               json!({"empty": ""})),
            (vec!["l=[1,2]"],              json!({"l": [1, 2]})),
            (vec!["a.b.c=3", "a.b.d=4"],   json!({"a": {"b": {"c": 3, "d": 4}}})),
            (vec!["a={\"b\":1}", "a.c=2"], json!({"a": {"b": 1, "c": 2}})),
            (vec!["a=1", "a=2"],           json!({"a": 2})),
            (vec!["url=http://x/?a=1"],    json!({"url": "http://x/?a=1"})),
        ];
        for (texts, expect) in cases {
            let payload = payload(None, &settings(&texts)).unwrap();
            assert_eq!(Value::Object(payload), expect, "{texts:?}");
        }
    }

    #[test]
    fn settings_win_over_the_payload() {
        let given: Given = r#"{"a": {"b": 1, "c": 1}, "d": 1}"#.parse().unwrap();
        let payload = payload(Some(&given), &settings(&["a.b=2"])).unwrap();
        assert_eq!(Value::Object(payload), json!({"a": {"b": 2, "c": 1}, "d": 1}));
    }

    #[test]
    fn a_setting_inside_a_scalar_is_refused() {
        let error = payload(None, &settings(&["a=1", "a.b=2"])).unwrap_err();
        assert_eq!(error.to_string(), "`--set a.b=...`: `a` is `1` and cannot hold `b`");
    }

    #[test]
    fn what_is_no_setting_or_payload_is_refused() {
        for text in ["a", "=1", "a..b=1", ".a=1"] {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
        for text in ["[1]", "3", "{", ""] {
            assert!(text.parse::<Given>().is_err(), "{text}");
        }
    }

    #[test]
    fn data_is_any_json_up_to_a_limit() {
        let read = |text: &str| text.parse::<Data>().unwrap().read();
        assert_eq!(read("[1]").unwrap(), json!([1]));
        assert_eq!(read("\"yes\"").unwrap(), json!("yes"));
        assert!("yes".parse::<Data>().is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.json");
        let given = format!("@{}", path.display());
        assert!(read(&given).unwrap_err().to_string().contains("cannot be read"));
        fs::write(&path, "{").unwrap();
        assert!(read(&given).unwrap_err().to_string().contains("is not JSON"));
        fs::write(&path, json!("x".repeat(CALLBACK_BYTES_MAX)).to_string()).unwrap();
        assert!(read(&given).unwrap_err().to_string().contains("a callback may bring 262144"));
    }

    #[test]
    fn a_payload_file_is_read_when_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.json");
        let given: Given = format!("@{}", path.display()).parse().unwrap();
        let missing = payload(Some(&given), &[]).unwrap_err();
        assert!(missing.to_string().contains("cannot be read"), "{missing}");
        fs::write(&path, r#"{"n": 1}"#).unwrap();
        assert_eq!(payload(Some(&given), &[]).unwrap()["n"], 1);
        fs::write(&path, "[]").unwrap();
        let wrong = format!("{:#}", payload(Some(&given), &[]).unwrap_err());
        assert!(wrong.contains("must be a JSON object"), "{wrong}");
    }
}
