//! Faults between the SDK and the server: each is a try that fails as real ones do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde_json::{Value, json};

/// What happens to one try.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This one is well: the next planned one is for a later request.
    None,
    /// It never arrives.
    Lost,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// It is never answered.
    Hangs,
    /// All of a batch but the message of this number is taken.
    Partly(usize),
    /// It is refused with a status and a code, as AWS writes them.
    Refused(u16, &'static str),
}

/// The faults to come, each for the next request whose target or URL holds a text.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    inner: SharedHttpConnector,
    plan: Arc<Mutex<VecDeque<(String, Fault)>>>,
    seen: Arc<Mutex<Vec<String>>>,
    hangs: Arc<AtomicBool>,
}

impl Faults {
    pub(crate) fn new(inner: SharedHttpConnector) -> Self {
        Self { inner, plan: Arc::default(), seen: Arc::default(), hangs: Arc::default() }
    }

    pub(crate) fn connector(&self) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }

    /// The next `count` requests of `what` fail.
    pub(crate) fn plan(&self, what: &str, count: usize, fault: &Fault) {
        let mut plan = self.plan.lock().unwrap();
        plan.extend((0..count).map(|_| (what.to_owned(), fault.clone())));
    }

    /// How many requests of `what` were tried.
    pub(crate) fn tried(&self, what: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.contains(what)).count()
    }

    /// That every planned fault has happened.
    pub(crate) fn all_happened(&self) -> bool {
        self.plan.lock().unwrap().is_empty()
    }

    fn next(&self, name: &str) -> Option<Fault> {
        self.seen.lock().unwrap().push(name.to_owned());
        let mut plan = self.plan.lock().unwrap();
        let at = plan.iter().position(|(what, _)| name.contains(what.as_str()))?;
        plan.remove(at).map(|(_, fault)| fault)
    }
}

impl HttpConnector for Faults {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let name = format!("{} {} {target}", request.method(), request.uri());
        let fault = self.next(&name);
        if self.hangs.swap(false, Ordering::Relaxed) {
            // The try before has been given up; this one is answered by a real server in real time.
            tokio::time::resume();
        }
        if matches!(fault, Some(Fault::Hangs)) {
            // Nothing else happens, so that the clock goes on to the end of the caller's patience.
            tokio::time::pause();
            self.hangs.store(true, Ordering::Relaxed);
        }
        let inner = self.inner.clone();
        HttpConnectorFuture::new(async move {
            let lost = || ConnectorError::io("the connection was reset".into());
            match fault {
                None | Some(Fault::None) => inner.call(request).await,
                Some(Fault::Lost) => Err(lost()),
                Some(Fault::AnswerLost) => {
                    inner.call(request).await?;
                    Err(lost())
                }
                Some(Fault::Hangs) => std::future::pending().await,
                Some(Fault::Partly(number)) => partly(&inner, request, number).await,
                Some(Fault::Refused(status, code)) => Ok(refusal(status, code)),
            }
        })
    }
}

/// Sends a batch without one message, and says in the server's answer that it was not taken.
async fn partly(
    inner: &SharedHttpConnector,
    mut request: HttpRequest,
    number: usize,
) -> Result<HttpResponse, ConnectorError> {
    let mut batch: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
    let left_out = batch["Entries"].as_array_mut().unwrap().remove(number);
    let mut told = json!({"Successful": []});
    if batch["Entries"] != json!([]) {
        let body = batch.to_string();
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = SdkBody::from(body);
        let answer = inner.call(request).await?;
        let body = ByteStream::new(answer.into_body()).collect().await.unwrap().to_vec();
        told = serde_json::from_slice(&body).unwrap();
    }
    told["Failed"] = json!([{"Id": left_out["Id"], "Code": "InternalError", "SenderFault": false}]);
    let mut response =
        HttpResponse::new(StatusCode::try_from(200).unwrap(), SdkBody::from(told.to_string()));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    Ok(response)
}

fn refusal(status: u16, code: &str) -> HttpResponse {
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"no"}}"#);
    let mut response =
        HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    response
}

/// A request of the test's own; its status.
pub(crate) async fn post(
    faults: &Faults,
    url: &str,
    headers: &[(&'static str, &str)],
    body: String,
) -> u16 {
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method("POST").unwrap();
    request.set_uri(url).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, (*value).to_owned());
    }
    faults.inner.call(request).await.unwrap().status().as_u16()
}
