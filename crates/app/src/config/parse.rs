//! From a setting's text to its value. An error says what is wrong with the
//! text; what would be right stands in the table.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use taskflow_adapters::telemetry::{self, LogFormat};
use taskflow_adapters::webhook::key_from_base64;

use super::show::without_password;
use super::{DatabaseUrl, SealingKey, Secret};

pub(super) fn database_url(text: &str) -> Result<DatabaseUrl, String> {
    match text.split_once(':') {
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") && rest.len() > 2 => {
            Ok(DatabaseUrl::Postgres(text.to_owned()))
        }
        Some(("sqlite", rest)) if !rest.trim_start_matches('/').is_empty() => {
            Ok(DatabaseUrl::Sqlite(text.to_owned()))
        }
        _ => Err(format!("`{}` names no database that is supported", without_password(text))),
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address with a port"))
}

pub(super) fn address_or_off(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" { Ok(None) } else { address(text).map(Some) }
}

pub(super) fn number(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<u64, String> {
    move |text| match text.trim().parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(number) => Err(format!("{number} is out of range")),
        Err(_) => Err(format!("`{text}` is not a whole number")),
    }
}

pub(super) fn truth(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("`{text}` is neither true nor false"))
}

pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |part: &str| part.parse().map_err(|_| format!("`{part}` is not a network"));
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(network).collect()
}

/// The URL of a collector, if there is one.
pub(super) fn endpoint(text: &str) -> Result<Option<String>, String> {
    match text.split_once("://") {
        None if text.is_empty() => Ok(None),
        Some(("http" | "https", rest)) if !rest.is_empty() => Ok(Some(text.to_owned())),
        _ => Err(format!("`{text}` is not an HTTP URL")),
    }
}

/// Whether callers need a key.
pub(super) fn auth(text: &str) -> Result<bool, String> {
    match text {
        "off" => Ok(false),
        "on" => Ok(true),
        _ => Err(format!("`{text}` is not known")),
    }
}

pub(super) fn operator_key(text: &str) -> Result<Option<Secret>, String> {
    match text.len() {
        0 => Ok(None),
        1..16 => Err("the key is too short".to_owned()),
        _ => Ok(Some(Secret(text.to_owned()))),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err(format!("`{text}` is not known")),
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    telemetry::check_filter(text)?;
    Ok(text.to_owned())
}

/// Keys that seal secrets, separated by commas; none of an empty text.
pub(super) fn sealing_keys(text: &str) -> Result<Vec<SealingKey>, String> {
    let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty());
    // What is wrong is told without the key.
    let key =
        |text| key_from_base64(text).map(SealingKey).map_err(|_| "is not 32 bytes in Base64".to_owned());
    keys.map(key).collect()
}
