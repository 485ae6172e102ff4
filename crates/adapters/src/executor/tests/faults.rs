//! Calls that bring no answer.

use std::time::Duration;

use axum::routing::any;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::*;

/// A server that reads a little of one request, answers `bytes`, and hangs up.
async fn rude(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1_024]).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    address
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let verdict = call(http(format!("http://{address}/?secret=1"))).await;
    let (kind, message, permanent) = failure(&verdict);
    assert_eq!((kind, permanent), ("connect", false));
    assert!(message.contains("refused") && !message.contains("secret"), "{message}");
}

#[tokio::test]
async fn a_name_that_does_not_exist() {
    let verdict = call(http("http://no-such-host.invalid/")).await;
    let (kind, _, permanent) = failure(&verdict);
    assert_eq!((kind, permanent), ("dns", false), "{verdict:?}");
}

#[tokio::test]
async fn a_connection_that_breaks() {
    for bytes in [
        &b""[..],
        b"HTTP/1.1 2",
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let address = rude(bytes).await;
        let verdict = call(http(format!("http://{address}/"))).await;
        let (kind, message, permanent) = failure(&verdict);
        assert_eq!((kind, permanent), ("protocol", false), "{message}");
    }
}

#[tokio::test]
async fn no_tls_where_tls_was_expected() {
    let address = rude(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let verdict = call(http(format!("https://{address}/"))).await;
    let (kind, message, permanent) = failure(&verdict);
    assert_eq!((kind, permanent), ("tls", false), "{message}");
}

#[tokio::test]
async fn a_cancel_drops_the_request() {
    struct Tell(Option<oneshot::Sender<()>>);
    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }
    let (dropped, was_dropped) = oneshot::channel();
    let (arrived, has_arrived) = oneshot::channel();
    let once = Arc::new(std::sync::Mutex::new(Some((arrived, dropped))));
    let handler = async move || {
        let (arrived, dropped) = once.lock().unwrap().take().unwrap();
        let _tell = Tell(Some(dropped));
        arrived.send(()).unwrap();
        std::future::pending::<()>().await;
    };
    let address = serve(Router::new().fallback(any(handler))).await;
    let cancel = CancellationToken::new();
    let target = Target::Http(http(format!("http://{address}/")));
    let executor = executor(EgressPolicy::default().with_loopback());
    let running = tokio::spawn({
        let cancel = cancel.clone();
        async move { execute_until(&executor, job(Some(target)), cancel).await }
    });
    has_arrived.await.unwrap();
    cancel.cancel();
    assert_eq!(running.await.unwrap(), Verdict::Cancelled);
    tokio::time::timeout(Duration::from_secs(5), was_dropped).await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_are_used_again() {
    let connections = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::spawn(async move {
                while stream.read(&mut [0; 4_096]).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                }
            });
        }
    });
    let executor = executor(EgressPolicy::default().with_loopback());
    for _ in 0..10 {
        let mut target = http(format!("http://{address}/"));
        target.method = Method::Get;
        let verdict = execute(&executor, job(Some(Target::Http(target)))).await;
        assert_eq!(result(&verdict)["body"], "ok");
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}
