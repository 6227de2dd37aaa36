//! The body of an answer, piece by piece: never whole in memory.

use std::time::Duration;

use bytes::Bytes;
use mime::Mime;
use reqwest::header::{CONTENT_TYPE, LINK};
use reqwest::{Response, Url};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout, timeout_at};

use super::Http;
use super::exchange::{explain, follow, refused, shown, strip_private, too_slow};
use super::request::Request;
use super::response::{Unread, read};
use crate::tool::{Call, ToolError};

/// An answer with a good status whose body is still to come.
pub(crate) struct HttpBody {
    response: Response,
    place: String,
    silence: Duration,
    started: Instant,
    deadline: Instant,
}

impl Http {
    /// Sends what a configuration asks for, to `page` if one is given; redirects are followed.
    ///
    /// `timeout` bounds the whole body only where it is given: a long body is no slow answer.
    ///
    /// # Errors
    /// As a call of `http` itself.
    pub(crate) async fn open(
        &self,
        mut config: Map<String, Value>,
        call: &Call<'_>,
        page: Option<&Url>,
    ) -> Result<HttpBody, ToolError> {
        config.entry("follow_redirects").or_insert(Value::Bool(true));
        let is_bounded = ["timeout", "timeout_seconds", "spec"]
            .iter()
            .any(|key| config.get(*key).is_some_and(|value| !value.is_null()));
        let call = Call { config, args: Map::new(), context: None, ..call.clone() };
        let mut request = Request::of(&call)?;
        if let Some(page) = page {
            strip_private(&mut request, page);
            request.url = page.clone();
        }
        let started = Instant::now();
        let own = started.checked_add(request.total).filter(|_| is_bounded);
        let deadline = own.map_or(call.deadline, |own| own.min(call.deadline));
        let place = format!("{} {}", request.method, shown(&request.url));
        let answer = timeout_at(deadline, follow(&self.clients, &mut request)).await;
        let response = answer.map_err(|_elapsed| too_slow(&place, started.elapsed()))??;
        let silence = request.read;
        if response.status().is_success() {
            return Ok(HttpBody { response, place, silence, started, deadline });
        }
        let status = response.status().as_u16();
        let read = timeout_at(deadline, read(response, silence)).await;
        let answer = read.map_err(|_elapsed| too_slow(&place, started.elapsed()))?;
        let answer = answer.map_err(|unread| explain(unread, &place, silence))?;
        let result = answer.result(request.expects, started.elapsed(), call.idempotency_key);
        Err(refused(status, &place, result.unwrap_or_default()))
    }
}

impl HttpBody {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// Transient ones: silence, a broken connection, the deadline.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, ToolError> {
        let piece = timeout_at(self.deadline, timeout(self.silence, self.response.chunk())).await;
        let piece = piece.map_err(|_elapsed| too_slow(&self.place, self.started.elapsed()))?;
        let unread = match piece {
            Ok(Ok(piece)) => return Ok(piece),
            Ok(Err(error)) => Unread::Broken(error),
            Err(_elapsed) => Unread::Silent,
        };
        Err(explain(unread, &self.place, self.silence))
    }

    /// Method and URL, without credentials.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// What the body is, if the answer says it.
    pub(crate) fn content_type(&self) -> Option<Mime> {
        self.response.headers().get(CONTENT_TYPE)?.to_str().ok()?.parse().ok()
    }

    /// A reference found in the answer, resolved against its URL.
    pub(crate) fn join(&self, reference: &str) -> Option<Url> {
        self.response.url().join(reference).ok()
    }

    /// The URL that a `Link` header calls `next` (RFC 8288).
    pub(crate) fn next_link(&self) -> Option<Url> {
        let links = self.response.headers().get_all(LINK).iter();
        let links = links.filter_map(|links| links.to_str().ok());
        links.flat_map(|links| links.split('<').skip(1)).find_map(|link| {
            let (reference, parameters) = link.split_once('>')?;
            let is_next = parameters.split([';', ',']).any(|parameter| {
                let parameter = parameter.trim().to_ascii_lowercase();
                matches!(parameter.as_str(), "rel=next" | "rel=\"next\"")
            });
            is_next.then(|| self.join(reference)).flatten()
        })
    }
}
