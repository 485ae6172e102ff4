//! A client of the API that knows nothing of the engine, and whose server may
//! come back at another address.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::process;

/// A client of the API.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Arc<Mutex<String>>,
}

impl Client {
    /// Of the server at `base`.
    pub fn new(base: &str) -> Result<Self> {
        Ok(Self { http: process::client()?, base: Arc::new(Mutex::new(base.to_owned())) })
    }

    /// From now on the server is there.
    pub fn moved(&self, base: &str) {
        base.clone_into(&mut self.base.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a POST is answered. An error means that there was no whole answer.
    pub async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Result<(u16, Value)> {
        let mut request = self.http.post(self.address(path)).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await?))
    }

    /// What a GET is answered, which must be good.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.http.get(self.address(path)).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "GET {path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}
