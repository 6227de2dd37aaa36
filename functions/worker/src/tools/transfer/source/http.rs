//! Rows of an HTTP answer, while it arrives; then of the next page.

use async_trait::async_trait;
use encoding_rs::UTF_8;
use engine_core::limits::PAGES_MAX;
use mime::Mime;
use reqwest::Url;
use serde_json::Value;

use super::{Format, Source, malformed};
use crate::tool::{Call, Reaction, ToolError};
use crate::tools::http::{Http, HttpBody};
use crate::tools::transfer::Row;
use crate::tools::transfer::decode::{Decoder, Ready};
use crate::tools::transfer::plan::Side;

/// One page after the other.
pub(super) struct HttpSource<'a> {
    http: &'a Http,
    side: Side,
    call: Call<'a>,
    told: Option<Format>,
    page: Option<Page>,
    /// The next page; none before the first.
    next: Option<Url>,
    pages: u32,
    is_over: bool,
    ready: Ready,
}

/// A page that is being read.
struct Page {
    body: HttpBody,
    decoder: Decoder,
    /// Turns other character sets into UTF-8.
    charset: Option<encoding_rs::Decoder>,
}

impl<'a> HttpSource<'a> {
    /// A source that asks when it is first read.
    pub(super) fn new(http: &'a Http, side: &Side, call: &Call<'a>) -> Result<Self, ToolError> {
        let told = Format::told(side)?;
        // A mistake in the settings is found before anything is asked for.
        told.unwrap_or(Format::Json).decoder(side)?;
        Ok(Self {
            http,
            side: side.clone(),
            call: call.clone(),
            told,
            page: None,
            next: None,
            pages: 0,
            is_over: false,
            ready: Ready::default(),
        })
    }

    async fn open(&mut self) -> Result<Page, ToolError> {
        self.pages += 1;
        if self.pages > PAGES_MAX {
            return Err(ToolError::new(
                Reaction::Rejected,
                "TooManyPages",
                format!("the source has more than {PAGES_MAX} pages; ask for larger pages"),
            ));
        }
        let config = self.side.config.clone();
        let body = self.http.open(config, &self.call, self.next.as_ref()).await?;
        let kind = body.content_type();
        let format = self.told.unwrap_or_else(|| format(kind.as_ref()));
        let decoder = format.decoder(&self.side)?;
        Ok(Page { body, decoder, charset: charset(kind.as_ref()) })
    }

    /// A page is read to its end: what is behind it.
    fn turn(&mut self, mut page: Page) -> Result<(), ToolError> {
        let place = page.body.place();
        page.decoder.end(&mut self.ready).map_err(|error| malformed(&error, place))?;
        let next = match page.decoder.take_next() {
            Some(Value::String(reference)) if !reference.trim().is_empty() => {
                let Some(url) = page.body.join(reference.trim()) else {
                    return Err(ToolError::new(
                        Reaction::Rejected,
                        "DecodeError",
                        format!("{place}: `next_url_path` leads to `{reference}`, which is no URL"),
                    ));
                };
                Some(url)
            }
            _ if self.side.config.get("next_url_path").is_some() => None,
            _ => page.body.next_link(),
        };
        if next.is_some() && next == self.next {
            return Err(ToolError::new(
                Reaction::Rejected,
                "PaginationLoop",
                format!(
                    "{place} names itself as its next page; correct the server or `next_url_path`"
                ),
            ));
        }
        self.is_over = next.is_none();
        self.next = next;
        Ok(())
    }
}

#[async_trait]
impl Source for HttpSource<'_> {
    async fn next(&mut self, rows_max: usize) -> Result<Vec<Row>, ToolError> {
        while !self.is_over && !self.ready.is_full(rows_max) {
            let mut page = match self.page.take() {
                Some(page) => page,
                None => self.open().await?,
            };
            match page.body.piece().await? {
                Some(bytes) => {
                    let text = page.charset.as_mut().map(|charset| decoded(charset, &bytes));
                    let bytes = text.as_ref().map_or(&*bytes, String::as_bytes);
                    let fed = page.decoder.feed(bytes, &mut self.ready);
                    fed.map_err(|error| malformed(&error, page.body.place()))?;
                    self.page = Some(page);
                }
                None => self.turn(page)?,
            }
        }
        Ok(self.ready.take(rows_max))
    }
}

/// JSON unless the content type says otherwise: its scanner reads JSON lines as well.
fn format(kind: Option<&Mime>) -> Format {
    match kind.map(Mime::essence_str) {
        Some("text/csv") => Format::Csv,
        _ => Format::Json,
    }
}

/// A decoder for a character set other than UTF-8.
fn charset(kind: Option<&Mime>) -> Option<encoding_rs::Decoder> {
    let label = kind?.get_param(mime::CHARSET)?;
    let encoding = encoding_rs::Encoding::for_label(label.as_str().as_bytes())?;
    (encoding != UTF_8).then(|| encoding.new_decoder())
}

fn decoded(charset: &mut encoding_rs::Decoder, bytes: &[u8]) -> String {
    let room = charset.max_utf8_buffer_length(bytes.len()).unwrap_or(0);
    let mut text = String::with_capacity(room);
    // With that much room everything is decoded; what it cannot be becomes the replacement character.
    let _ = charset.decode_to_string(bytes, &mut text, false);
    text
}
