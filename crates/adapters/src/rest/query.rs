//! Query parameters, read as strictly as bodies.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode;

use super::fault::{Faults, Place};
use super::problem::Problem;

/// The query parameters, taken one by one like the fields of a body.
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    faults: Faults,
}

impl Query {
    fn parse(text: &str) -> Self {
        let part = |part: &str| {
            let spaced = part.replace('+', " ");
            let decoded = percent_decode(spaced.as_bytes()).decode_utf8().map(Cow::into_owned);
            decoded.ok().filter(|text| !text.contains('\0'))
        };
        let mut query = Self { pairs: Vec::new(), known: Vec::new(), faults: Faults::default() };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (part(name), part(value)) {
                (Some(name), Some(value)) => query.pairs.push((name, value)),
                (name, _) => {
                    let name = name.unwrap_or_default();
                    query.faults.note(Place::Query(name), "must be UTF-8 without U+0000");
                }
            }
        }
        query
    }

    /// Notes a fault of the parameter `name`.
    pub(crate) fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.note(Place::Query(name.to_owned()), detail);
    }

    /// All values of the parameter `name`.
    pub(crate) fn many(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        let mut values = Vec::new();
        self.pairs.retain_mut(|(key, value)| {
            let met = key == name;
            if met {
                values.push(std::mem::take(value));
            }
            !met
        });
        values
    }

    /// The parameters whose names begin with `prefix`, without it. `shown` tells
    /// them to people.
    pub(crate) fn prefixed(&mut self, prefix: &str, shown: &'static str) -> Vec<(String, String)> {
        self.known.push(shown);
        let all = std::mem::take(&mut self.pairs);
        let (met, rest) = all.into_iter().partition(|(key, _)| key.starts_with(prefix));
        self.pairs = rest;
        let met: Vec<(String, String)> = met;
        met.into_iter().map(|(key, value)| (key[prefix.len()..].to_owned(), value)).collect()
    }

    /// The parameter `name`, which may occur once, read by `read`.
    pub(crate) fn one<T, E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let values = self.many(name);
        if values.len() > 1 {
            self.fault(name, "must occur once");
            return None;
        }
        let read = read(values.first()?);
        read.map_err(|error| self.fault(name, error.to_string())).ok()
    }

    /// Refuses what is left, and everything if something was wrong.
    pub(crate) fn close(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            let known = self.known.join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            self.fault(&name, format!("unknown parameter; known are {known}"));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::invalid(self.faults)) }
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// That the request has no query parameters.
pub(crate) struct NoQuery;

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::parse(parts.uri.query().unwrap_or_default()).close().map(|()| Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_strictly() {
        let mut query = Query::parse("state=A&state=B&limit=x&label.a%2Fb=c+d&typo=1");
        assert_eq!(query.many("state"), ["A", "B"]);
        assert_eq!(query.prefixed("label.", "label.<key>"), [("a/b".to_owned(), "c d".to_owned())]);
        assert_eq!(query.one("limit", str::parse::<u32>), None);
        let told = query.close().unwrap_err().to_wire("r").errors;
        let pointers: Vec<_> = told.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["#/limit", "#/typo"]);
        assert!(Query::parse("a=%ff").close().is_err());
        assert!(Query::parse("a=%00").close().is_err());
    }
}
