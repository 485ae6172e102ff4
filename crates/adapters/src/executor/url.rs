//! Whether a text is the URL of a target: what can be said without a network.

use ::url::Url;

/// The longest URL, in bytes.
const LONGEST_URL: usize = 4_096;

/// Why a text is not the URL of a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// Not a URL.
    #[error("must be an absolute URL: {0}")]
    Syntax(String),
    /// Too long.
    #[error("must have at most {LONGEST_URL} bytes")]
    TooLong,
    /// Blanks or control characters, which a parser would drop silently.
    #[error("must not hold blanks or control characters")]
    Blank,
    /// Neither `http` nor `https`.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// A user name or a password, which logs would show.
    #[error("must not hold a user name or a password; send them in a header")]
    Credentials,
    /// Port 0.
    #[error("must not name port 0")]
    Port,
}

/// The URL of a target. Where its host leads is checked when it is called.
pub fn validate_url(text: &str) -> Result<Url, UrlFault> {
    if text.len() > LONGEST_URL {
        return Err(UrlFault::TooLong);
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(UrlFault::Blank);
    }
    let url = Url::parse(text).map_err(|error| UrlFault::Syntax(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlFault::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlFault::Credentials);
    }
    if url.port() == Some(0) {
        return Err(UrlFault::Port);
    }
    Ok(url)
}
