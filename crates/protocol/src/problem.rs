//! What an error looks like: RFC 9457.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem, one URI for each `code`.
    #[serde(rename = "type")]
    #[schema(format = "uri", example = "urn:taskflow:problem:invalid")]
    pub kind: String,
    /// The kind of problem, for people.
    #[schema(example = "The request is not valid")]
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 422)]
    pub status: u16,
    /// This problem, for people.
    #[schema(example = "1 field of the request is not valid")]
    pub detail: String,
    /// This request: `urn:taskflow:request:` and the value of `X-Request-Id`.
    #[schema(format = "uri", example = "urn:taskflow:request:6d1e4ed1f6f34f34")]
    pub instance: String,
    /// The kind of problem, for programs. Stable.
    #[schema(pattern = "^[a-z_]+$", example = "invalid")]
    pub code: String,
    /// What is wrong, all of it; empty where the problem is not one of the request's content.
    pub errors: Vec<ProblemError>,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemError {
    /// What is wrong, for people.
    #[schema(example = "is required")]
    pub detail: String,
    /// Where: a JSON pointer as a URI fragment, into the body, or into the object of all query
    /// parameters, headers or parts of the path.
    #[schema(pattern = "^#", example = "#/kind")]
    pub pointer: String,
    /// What the pointer points into.
    #[serde(rename = "in")]
    pub place: ProblemPlace,
}

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(example = "body")]
pub enum ProblemPlace {
    /// The body.
    Body,
    /// The query parameters.
    Query,
    /// The headers.
    Header,
    /// In the part of the path of that name.
    Path,
}
