//! One question of the controller's own probe to real servers: HTTPS and gRPC. (HTTP and TCP: `senses`.)

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use composed_traffic::probe::ask;
use crd_schema::{ComposeDuration, GrpcProbe, HttpProbe, Readiness, Scheme};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn https_is_spoken_and_the_certificate_is_not_checked() {
    let certificate = include_bytes!("certificate/cert.der").to_vec().into();
    let key = include_bytes!("certificate/key.der").to_vec().try_into().unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, port) = listener().await;
    let open = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&open);
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                count.fetch_add(1, Ordering::SeqCst);
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut text = vec![0; 4096];
                    let length = stream.read(&mut text).await.unwrap_or_default();
                    let asked = String::from_utf8_lossy(&text[..length]).into_owned();
                    let named = stream.get_ref().1.server_name().map(str::to_owned);
                    let well = asked.contains("\r\nHost: shop.test\r\n") && named.as_deref() == Some("shop.test");
                    let status = if well { "204 No Content" } else { "421 Misdirected Request" };
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    drop(stream.write_all(answer.as_bytes()).await);
                    drop(stream.shutdown().await);
                }
                count.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    let http = |host: Option<&str>, status: Option<&str>| Readiness {
        http: Some(HttpProbe {
            path: "/".to_owned(),
            port,
            scheme: Some(Scheme::Https),
            host: host.map(str::to_owned),
            status: status.map(|status| status.parse().unwrap()),
        }),
        ..Readiness::default()
    };
    assert_eq!(ask(&http(Some("shop.test"), None), HERE).await, Ok(()));
    assert_eq!(ask(&http(None, None), HERE).await, Err("status 421".to_owned()));
    assert_eq!(ask(&http(None, Some("400-499")), HERE).await, Ok(()));
    assert_eq!(ask(&http(Some("shop.test"), Some("200")), HERE).await, Err("status 204".to_owned()));
    let mut plain = http(Some("shop.test"), None);
    plain.http.as_mut().unwrap().scheme = None;
    assert!(ask(&plain, HERE).await.is_err(), "what speaks TLS does not speak HTTP");
    tokio::time::sleep(Duration::from_millis(200)).await; // The other side notices the end a moment later.
    assert_eq!(open.load(Ordering::SeqCst), 0, "no connection is left open");
    server.abort();
}

/// `grpc.health.v1.Health`: SERVING for no name and `shop`, `NOT_SERVING` for `sick`, else `NOT_FOUND`.
async fn health(
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let path = request.uri().path().to_owned();
    let message = request.into_body().collect().await.unwrap().to_bytes();
    let (status, code): (&[u8], &str) = match (path.as_str(), message.get(7..).unwrap_or_default()) {
        ("/grpc.health.v1.Health/Check", b"" | b"shop") => (&[0, 0, 0, 0, 2, 8, 1], "0"),
        ("/grpc.health.v1.Health/Check", b"sick") => (&[0, 0, 0, 0, 2, 8, 2], "0"),
        ("/grpc.health.v1.Health/Check", _) => (&[], "5"),
        _ => (&[], "12"),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    let frames = [Ok(Frame::data(Bytes::from_static(status))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

#[tokio::test]
async fn grpc_health_is_asked() {
    let (listener, port) = listener().await;
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(health);
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(async move { connection.serve_connection(TokioIo::new(stream), service).await });
        }
    });
    let grpc = |service: Option<&str>| Readiness {
        grpc: Some(GrpcProbe { port, service: service.map(str::to_owned) }),
        ..Readiness::default()
    };
    assert_eq!(ask(&grpc(None), HERE).await, Ok(()));
    assert_eq!(ask(&grpc(Some("shop")), HERE).await, Ok(()));
    assert_eq!(ask(&grpc(Some("sick")), HERE).await, Err("NOT_SERVING".to_owned()));
    assert_eq!(ask(&grpc(Some("other")), HERE).await, Err("the health service does not know this service".to_owned()));
    server.abort();

    // One that speaks HTTP/1 only, and one that says nothing.
    let (plain, port) = self::listener().await;
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = plain.accept().await.unwrap();
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await);
        }
    });
    let mut other = grpc(None);
    other.grpc.as_mut().unwrap().port = port;
    other.timeout = Some(ComposeDuration::from_secs(1));
    assert!(ask(&other, HERE).await.is_err());
    server.abort();
}

/// Not a promise in numbers: `cargo test --release -p composed --test it -- --ignored --nocapture thousand`.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a measurement"]
async fn a_thousand_questions_a_second() {
    let (listener, port) = listener().await;
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = listener.into_std().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut text = [0; 512];
                    drop(stream.read(&mut text).await);
                    drop(
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await,
                    );
                });
            }
        });
    });
    let http = HttpProbe { path: "/".to_owned(), port, ..HttpProbe::default() };
    let readiness = Arc::new(Readiness { http: Some(http), ..Readiness::default() });
    let cpu = || {
        let text = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<_> = text.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = cpu();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let failed = Arc::new(AtomicUsize::new(0));
    for _ in 0..5000 {
        ticks.tick().await;
        let (readiness, failed) = (Arc::clone(&readiness), Arc::clone(&failed));
        tokio::spawn(async move {
            failed.fetch_add(usize::from(ask(&readiness, HERE).await.is_err()), Ordering::SeqCst);
        });
    }
    println!(
        "1,000 questions a second for 5 s, with the server in the same process: {} % of a core, {} failed",
        (cpu() - before) / 5,
        failed.load(Ordering::SeqCst)
    );
    drop(server);
}
