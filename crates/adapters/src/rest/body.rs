//! Bodies: their type, their size, their encoding, and what they say.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;

use super::budget::{BODIES, Held};
use super::fault::{Faults, Path, Place};
use super::json::{Value, check};
use super::problem::{Code, Problem};

/// The body of a request about one thing has at most this many bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;
/// The body of a batch has at most this many bytes.
pub(crate) const MAX_BATCH_BODY: usize = 16 * 1024 * 1024;
/// Of a body that is too large, this much is still read, so that a client that
/// sends before it listens gets to hear the answer.
const MAX_DRAIN: usize = 64 * 1024 * 1024;
/// A body must have arrived within this time.
const BODY_TIME: Duration = Duration::from_secs(30);

/// The text of a JSON body of at most `MAX` bytes, which counts as held while it
/// is there.
pub(crate) struct Body<const MAX: usize> {
    text: String,
    _held: Held<'static>,
}

impl<const MAX: usize> Body<MAX> {
    /// Checks the text and has it read by `read`. Every fault is told at once.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(Value<'_>, &mut Faults) -> Option<T>,
    ) -> Result<T, Problem> {
        self.read_with(Faults::default(), read)
    }

    /// The same, where something may be wrong with the head already.
    pub(crate) fn read_with<T>(
        &self,
        mut faults: Faults,
        read: impl FnOnce(Value<'_>, &mut Faults) -> Option<T>,
    ) -> Result<T, Problem> {
        check(&self.text, &mut faults).map_err(|malformed| {
            Problem::at(Code::MalformedJson, Place::Body(malformed.pointer), malformed.detail)
        })?;
        match read(Value::of_checked(&self.text), &mut faults) {
            Some(value) if faults.is_empty() => Ok(value),
            _ => Err(Problem::invalid(faults)),
        }
    }

    /// The same, and what was read is handed over although something is wrong, for
    /// somebody who has more to say about it.
    pub(crate) fn read_partly<T>(
        &self,
        read: impl FnOnce(Value<'_>, &mut Faults) -> Option<T>,
    ) -> Result<(Option<T>, Faults), Problem> {
        let mut faults = Faults::default();
        check(&self.text, &mut faults).map_err(|malformed| {
            Problem::at(Code::MalformedJson, Place::Body(malformed.pointer), malformed.detail)
        })?;
        let value = read(Value::of_checked(&self.text), &mut faults);
        Ok((value, faults))
    }

    /// The same for a request whose body may be left out.
    pub(crate) fn read_partly_if_sent<T>(
        &self,
        read: impl FnOnce(Value<'_>, &mut Faults) -> Option<T>,
    ) -> Result<(Option<T>, Faults), Problem> {
        if self.text.trim_ascii().is_empty() { Ok((None, Faults::default())) } else { self.read_partly(read) }
    }

    /// The same for a request whose body may be left out.
    pub(crate) fn read_if_sent<T: Default>(
        &self,
        read: impl FnOnce(Value<'_>, &mut Faults) -> Option<T>,
    ) -> Result<T, Problem> {
        if self.text.trim_ascii().is_empty() { Ok(T::default()) } else { self.read(read) }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json = media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"));
    let utf8 = |parameter: &str| match parameter.split_once('=') {
        Some((name, charset)) if name.trim().eq_ignore_ascii_case("charset") => {
            charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    };
    json && parts.all(utf8)
}

/// Why a body was not read.
#[derive(Debug)]
enum Unread {
    /// It ended early.
    Broken,
    /// It is larger than it may be.
    TooLarge,
    /// The process holds as many bytes as it may.
    NoRoom,
}

/// Reads at most `most` bytes, which count as `held`.
async fn read_body(body: axum::body::Body, most: usize, held: &mut Held<'_>) -> Result<Vec<u8>, Unread> {
    let mut stream = body.into_data_stream();
    let mut kept = Vec::new();
    let mut size = 0_usize;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Unread::Broken)?;
        size += chunk.len();
        if size <= most {
            if !held.more(chunk.len()) {
                return Err(Unread::NoRoom);
            }
            kept.extend_from_slice(&chunk);
        } else {
            kept = Vec::new();
            held.release();
            if size > MAX_DRAIN {
                break;
            }
        }
    }
    if size <= most { Ok(kept) } else { Err(Unread::TooLarge) }
}

/// A body of any type, byte by byte, of at most `MAX` bytes, which counts as held
/// while its second part is there.
pub(crate) struct RawBody<const MAX: usize>(pub(crate) Vec<u8>, pub(crate) Held<'static>);

async fn bytes(body: axum::body::Body, most: usize) -> Result<(Vec<u8>, Held<'static>), Problem> {
    let mut held = BODIES.open();
    let read = tokio::time::timeout(BODY_TIME, read_body(body, most, &mut held)).await;
    let read =
        read.map_err(|_| Problem::new(Code::RequestTimeout, "the body did not arrive within 30 seconds"))?;
    match read {
        Ok(read) => Ok((read, held)),
        Err(Unread::Broken) => Err(Problem::new(Code::MalformedJson, "the body ended early")),
        Err(Unread::TooLarge) => {
            Err(Problem::new(Code::BodyTooLarge, format!("the body may have at most {most} bytes")))
        }
        Err(Unread::NoRoom) => {
            let detail = "the server holds as many bytes of requests as it may; nothing was done";
            Err(Problem::new(Code::Overloaded, detail).after(1))
        }
    }
}

impl<S: Sync, const MAX: usize> FromRequest<S> for RawBody<MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        bytes(request.into_body(), MAX).await.map(|(bytes, held)| Self(bytes, held))
    }
}

impl<S: Sync, const MAX: usize> FromRequest<S> for Body<MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let json = is_json(request.headers());
        let (bytes, held) = bytes(request.into_body(), MAX).await?;
        if !json && !bytes.is_empty() {
            let detail = "the body must be sent with the content type application/json, in UTF-8";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        String::from_utf8(bytes).map(|text| Self { text, _held: held }).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let place = Place::Body(Path::ROOT.pointer());
            Problem::at(Code::MalformedJson, place, format!("the body is not UTF-8 at byte {at}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
        is_json(&headers)
    }

    #[test]
    fn json_is_known_by_its_type() {
        for good in ["application/json", "Application/JSON; charset=UTF-8", "application/merge-patch+json"] {
            assert!(media(good), "{good}");
        }
        for bad in
            ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "json"]
        {
            assert!(!media(bad), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn bodies_are_cut_at_the_byte() {
        let read = async |size: usize| {
            read_body(axum::body::Body::from(vec![b'x'; size]), 10, &mut BODIES.open()).await
        };
        assert_eq!(read(10).await.unwrap().len(), 10);
        assert!(matches!(read(11).await, Err(Unread::TooLarge)));
    }
}
