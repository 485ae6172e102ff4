//! Between a session and the server: understands where one statement ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::gate::Gate;
use super::touch::{Tables, Transaction};

/// The code of a request for TLS, and that of one for GSSAPI.
const NO_THANKS: [u32; 2] = [80_877_103, 80_877_104];

/// A way to the server on which statements wait at a gate.
#[derive(Debug)]
pub struct Proxy {
    /// The database's URL by this way.
    pub url: String,
    /// The gate.
    pub gate: Gate,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// A way to the database at `url`, which has these tables.
    pub async fn start(url: &str, tables: Arc<Tables>) -> Result<Self> {
        let config: tokio_postgres::Config = url.parse()?;
        let port = config.get_ports().first().copied().context("the URL names a port")?;
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let own = listener.local_addr()?.port();
        let gate = Gate::default();
        let accepting = tokio::spawn(accept(listener, server, gate.clone(), tables));
        let url = url.replace(&format!(":{port}"), &format!(":{own}"));
        Ok(Self { url, gate, _accepting: AbortOnDropHandle::new(accepting) })
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, gate: Gate, tables: Arc<Tables>) {
    while let Ok((client, _)) = listener.accept().await {
        let (gate, tables) = (gate.clone(), Arc::clone(&tables));
        tokio::spawn(async move {
            // A connection that breaks is the session's matter.
            let _ = serve(client, server, gate, &tables).await;
        });
    }
}

async fn serve(mut client: TcpStream, server: SocketAddr, gate: Gate, tables: &Tables) -> Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let hello = greeting(&mut client).await?;
    server.write_all(&hello).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Which of the statements under way have passed the gate.
    let (asking, asked) = mpsc::unbounded_channel();
    let answers = tokio::spawn(answers(from_server, to_client, gate.clone(), asked));
    let asked = questions(from_client, to_server, gate, tables, asking).await;
    answers.abort();
    asked
}

/// The first message; what is asked before it is refused.
async fn greeting(client: &mut TcpStream) -> Result<Vec<u8>> {
    loop {
        let length = client.read_u32().await?;
        let mut rest = vec![0; (length as usize).saturating_sub(4)];
        client.read_exact(&mut rest).await?;
        let code = rest.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        if NO_THANKS.contains(&code) {
            client.write_all(b"N").await?;
            continue;
        }
        let mut hello = length.to_be_bytes().to_vec();
        hello.extend(rest);
        return Ok(hello);
    }
}

/// One message with its type.
async fn message(from: &mut OwnedReadHalf) -> Result<(u8, Vec<u8>)> {
    let kind = from.read_u8().await?;
    let length = from.read_u32().await?;
    if !(4..100_000_000).contains(&length) {
        bail!("a message of {length} bytes");
    }
    let mut whole = vec![kind];
    whole.extend(length.to_be_bytes());
    whole.resize(length as usize + 1, 0);
    from.read_exact(&mut whole[5..]).await?;
    Ok((kind, whole))
}

/// A text that ends with a zero byte, and what is behind it.
fn text(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes.get(end + 1..).unwrap_or_default())
}

async fn questions(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    gate: Gate,
    tables: &Tables,
    asking: mpsc::UnboundedSender<bool>,
) -> Result<()> {
    let connection = gate.connection();
    let mut prepared = HashMap::new();
    let mut transaction = Transaction::default();
    let (mut held, mut executed) = (Vec::new(), Vec::new());
    loop {
        let (kind, whole) = message(&mut from).await?;
        let body = &whole[5..];
        match kind {
            b'P' => {
                let (name, rest) = text(body);
                prepared.insert(name, text(rest).0);
            }
            b'B' => executed.extend(prepared.get(&text(text(body).1).0).cloned()),
            b'Q' => executed.push(text(body).0),
            _ => {}
        }
        held.extend(&whole);
        match kind {
            b'S' | b'Q' => {
                // Preparing does nothing, and what the pool sends when a connection comes
                // back is no statement of the store.
                let tidying = executed.is_empty() || executed == ["rollback"];
                if tidying {
                    transaction = if executed.is_empty() { transaction } else { Transaction::default() };
                } else {
                    let (touch, after) = transaction.step(tables, &executed.join(";"));
                    transaction = after;
                    gate.pass(connection, touch).await;
                }
                asking.send(!tidying)?;
                executed.clear();
            }
            b'X' | b'p' | b'H' => {}
            _ => continue,
        }
        to.write_all(&held).await?;
        held.clear();
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    gate: Gate,
    mut asked: mpsc::UnboundedReceiver<bool>,
) -> Result<()> {
    loop {
        let (kind, whole) = message(&mut from).await?;
        if kind == b'K'
            && let Some(pid) = whole.get(5..9).and_then(|bytes| bytes.first_chunk())
        {
            gate.serves(i32::from_be_bytes(*pid));
        }
        to.write_all(&whole).await?;
        // The first one only says that the session is ready.
        if kind == b'Z' && asked.try_recv() == Ok(true) {
            gate.answered();
        }
    }
}
