//! A proxy that makes statements lose their tenant.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The condition that is lost.
const CONDITION: &str = "tenant_id = $1";
/// What stands there instead: the parameter is still one of the statement's.
const NOTHING: &str = "$1::int4 is not null";

type Lost = Arc<Mutex<BTreeSet<String>>>;

pub(super) struct Proxy {
    /// The URL of the database, through the proxy.
    pub(super) url: String,
    lost: Lost,
}

impl Proxy {
    pub(super) async fn start(url: &str) -> Result<Self> {
        let (front, rest) = url.rsplit_once('/').context("a URL has a path")?;
        let at = front.rfind(['@', '/']).context("a URL has a host")? + 1;
        let server = front[at..].to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("{}{}/{rest}", &front[..at], listener.local_addr()?);
        let lost = Lost::default();
        let kept = Arc::clone(&lost);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, lost) = (server.clone(), Arc::clone(&lost));
                // A connection that breaks shows itself in the test.
                tokio::spawn(async move { drop(connection(client, &server, lost).await) });
            }
        });
        Ok(Self { url, lost: kept })
    }

    /// The statements that lost their tenant.
    pub(super) fn lost(&self) -> BTreeSet<String> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn connection(client: TcpStream, server: &str, lost: Lost) -> Result<()> {
    let server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let forth = forward(&mut from_client, &mut to_server, &lost).await;
    drop(to_server);
    back.abort();
    forth
}

/// Messages of PostgreSQL's protocol, from the client to the server.
async fn forward(
    client: &mut (impl AsyncRead + Unpin),
    server: &mut (impl AsyncWrite + Unpin),
    lost: &Lost,
) -> Result<()> {
    // Requests before the start have no type: of encryption, and the start itself.
    loop {
        let body = body(client).await?;
        server.write_all(&u32::try_from(body.len() + 4)?.to_be_bytes()).await?;
        server.write_all(&body).await?;
        if body.starts_with(&196_608_u32.to_be_bytes()) {
            break;
        }
    }
    loop {
        let kind = client.read_u8().await?;
        let mut body = body(client).await?;
        if kind == b'P' {
            body = without_tenant(&body, lost).unwrap_or(body);
        }
        let mut message = vec![kind];
        message.extend(u32::try_from(body.len() + 4)?.to_be_bytes());
        message.extend(body);
        server.write_all(&message).await?;
    }
}

async fn body(client: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let length = client.read_u32().await?;
    let mut body = vec![0; usize::try_from(length)?.saturating_sub(4)];
    client.read_exact(&mut body).await?;
    Ok(body)
}

/// The statement to be prepared, without the condition; `None` if it has none.
fn without_tenant(body: &[u8], lost: &Lost) -> Option<Vec<u8>> {
    let name = body.iter().position(|byte| *byte == 0)? + 1;
    let end = name + body[name..].iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(&body[name..end]).ok()?;
    let mut changed = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(CONDITION) {
        let alias = |c: char| c.is_ascii_lowercase() || c == '.';
        changed.push_str(rest[..at].trim_end_matches(alias));
        let after = &rest[at + CONDITION.len()..];
        changed.push_str(if after.starts_with(|c: char| c.is_ascii_digit()) { CONDITION } else { NOTHING });
        rest = after;
    }
    changed.push_str(rest);
    if changed == text || !text.trim_start().starts_with(['s', 'w', '(']) {
        return None;
    }
    lost.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned());
    Some([&body[..name], changed.as_bytes(), &body[end..]].concat())
}
