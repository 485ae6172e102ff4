//! What an answer brings back.

use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use taskflow_domain::Json;

use super::sanitize;

/// How much of a body is kept, in bytes.
pub(super) const KEPT: usize = 64 * 1_024;
/// How much of a body is read for the sake of the connection; a longer one costs
/// the connection.
const READ: usize = 1_024 * 1_024;
/// How much of a body stands in a failure's message, in characters.
const EXCERPT: usize = 200;

/// An answer, as far as it is kept.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    is_json: bool,
    body: Vec<u8>,
    truncated: bool,
}

impl Answer {
    /// Reads the body of `response`.
    pub(super) async fn read(mut response: Response) -> Result<Self, reqwest::Error> {
        let status = response.status().as_u16();
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let is_json = is_json(kind);
        let (mut body, mut read) = (Vec::new(), 0);
        while read <= READ {
            let Some(chunk) = response.chunk().await? else { break };
            read += chunk.len();
            let room = KEPT - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        let truncated = read > body.len();
        Ok(Self { status, is_json, body, truncated })
    }

    /// The result of the attempt.
    pub(super) fn result(&self) -> Json {
        let mut result = json!({ "status": self.status, "body": self.document() });
        if self.truncated {
            result["truncated"] = true.into();
        }
        Json::from(&result)
    }

    /// The status, and what the body begins with.
    pub(super) fn message(&self) -> String {
        // A character has at most four bytes, and blanks may be dropped.
        let head = &self.body[..self.body.len().min(EXCERPT * 8)];
        let excerpt = sanitize::line(&sanitize::text(head), EXCERPT);
        if excerpt.is_empty() {
            format!("HTTP {}", self.status)
        } else {
            format!("HTTP {}: {excerpt}", self.status)
        }
    }

    /// The body as a document where it is one, else as text, `null` if it is empty.
    fn document(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        let start = self.body.trim_ascii_start().first();
        let may_be_json = self.is_json || matches!(start, Some(b'{' | b'['));
        if may_be_json
            && !self.truncated
            && let Ok(value) = serde_json::from_slice(&self.body)
        {
            return sanitize::document(value);
        }
        Value::String(sanitize::text(&self.body))
    }
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}
