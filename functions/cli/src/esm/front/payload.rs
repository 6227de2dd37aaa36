//! Requests and answers of an HTTP API of AWS, payload format 2.0.

use api::waiting::utc;
use axum::body::Body;
use axum::extract::Query;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::header::{HeaderName, TRANSFER_ENCODING, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// What the connection decides, and no function.
const OF_THE_CONNECTION: [HeaderName; 3] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];

/// The event for a request that came at `at_ms` (Unix milliseconds).
pub(super) fn event(head: &Parts, body: &[u8], at_ms: i64) -> Value {
    let (method, path) = (head.method.as_str(), head.uri.path());
    let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(axum::http::header::HOST).unwrap_or("localhost");
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": head.uri.query().unwrap_or_default(),
        "headers": headers(&head.headers),
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": host,
            "domainPrefix": "local",
            "http": {
                "method": method,
                "path": path,
                "protocol": format!("{:?}", head.version),
                "sourceIp": "127.0.0.1",
                "userAgent": text(USER_AGENT).unwrap_or_default(),
            },
            "requestId": format!("local-{at_ms}"),
            "routeKey": "$default",
            "stage": "$default",
            "time": time(at_ms),
            "timeEpoch": at_ms,
        },
        "isBase64Encoded": false,
    });
    let cookies = head.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let cookies: Vec<&str> = cookies.flat_map(|value| value.split(';')).map(str::trim).collect();
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    let parameters = parameters(&head.uri);
    if !parameters.is_empty() {
        event["queryStringParameters"] = Value::Object(parameters);
    }
    match std::str::from_utf8(body) {
        _ if body.is_empty() => {}
        Ok(body) if is_text(text(CONTENT_TYPE)) => event["body"] = Value::from(body),
        _ => {
            event["body"] = Value::from(STANDARD.encode(body));
            event["isBase64Encoded"] = Value::Bool(true);
        }
    }
    event
}

/// Headers by name in lower case, the values of one name in one text. Cookies stand elsewhere.
fn headers(given: &HeaderMap) -> Map<String, Value> {
    let mut headers = Map::new();
    for name in given.keys().filter(|name| **name != COOKIE) {
        let values = given.get_all(name).iter();
        let values: Vec<_> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.as_str().to_owned(), Value::from(values.join(",")));
    }
    headers
}

/// Parameters of the query, decoded, the values of one name in one text.
fn parameters(uri: &Uri) -> Map<String, Value> {
    let given = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|query| query.0);
    let mut parameters = Map::new();
    for (name, value) in given.unwrap_or_default() {
        let joined = match parameters.get(&name).and_then(Value::as_str) {
            Some(before) => format!("{before},{value}"),
            None => value,
        };
        parameters.insert(name, Value::from(joined));
    }
    parameters
}

/// Whether a body of that type travels as it is; AWS encodes all others.
fn is_text(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || ["application/json", "application/xml", "application/javascript"]
            .contains(&kind.as_str())
}

/// `12/Mar/2020:19:03:58 +0000`.
fn time(at_ms: i64) -> String {
    let utc = utc(at_ms);
    let part = |range| utc.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().unwrap_or_default().saturating_sub(1);
    let month = MONTHS.get(month).copied().unwrap_or_default();
    format!("{}/{month}/{}:{} +0000", part(8..10), part(0..4), part(11..19))
}

/// The response that a function's answer stands for.
///
/// An answer without `statusCode` is itself the body.
///
/// # Errors
/// What the answer has that no response can have.
pub(super) fn response(answer: &[u8]) -> Result<Response, String> {
    let value: Value = serde_json::from_slice(answer)
        .map_err(|error| format!("the function answered no JSON ({error})"))?;
    let Some(status) = value.get("statusCode") else {
        return Ok(json_response(StatusCode::OK, answer.to_vec()));
    };
    let code = status.as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.and_then(|code| StatusCode::from_u16(code).ok());
    let code = code.ok_or_else(|| format!("`statusCode` is {status}, which is no status"))?;
    let body = match (&value["body"], value["isBase64Encoded"] == true) {
        (Value::Null, _) => Vec::new(),
        (Value::String(text), true) => {
            STANDARD.decode(text).map_err(|error| format!("`body` is no base64 ({error})"))?
        }
        (Value::String(text), false) => text.clone().into_bytes(),
        (other, _) => return Err(format!("`body` is {other}; it must be a text")),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    let said = response.headers_mut();
    for (name, value) in value["headers"].as_object().into_iter().flatten() {
        let name = HeaderName::try_from(name).map_err(|_no_name| no_header(name))?;
        if !OF_THE_CONNECTION.contains(&name) {
            let value = header_value(name.as_str(), value)?;
            said.insert(name, value);
        }
    }
    said.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain;charset=UTF-8"));
    for cookie in value["cookies"].as_array().into_iter().flatten() {
        said.append(SET_COOKIE, header_value("set-cookie", cookie)?);
    }
    Ok(response)
}

fn header_value(name: &str, value: &Value) -> Result<HeaderValue, String> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    HeaderValue::try_from(text).map_err(|_no_value| no_header(name))
}

fn no_header(name: &str) -> String {
    format!("`{name}` in `headers` is no header with a value")
}

/// What AWS answers by itself.
pub(super) fn message(status: StatusCode, said: &str) -> Response {
    json_response(status, json!({"message": said}).to_string().into_bytes())
}

fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests;
