//! Webhooks as git servers send them: right, wrong, missing, replayed, too many, too large, too slow.

use std::sync::Arc;
use std::time::Duration;

use composed_api::webhook::{Provider, Webhook, serve_on};
use composed_platform::listen::Listener;
use ring::hmac;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const SECRET: &str = "a secret of the shop";

struct Server {
    address: std::net::SocketAddr,
    nudge: Arc<Notify>,
}

impl Server {
    async fn new(provider: Provider) -> Self {
        let nudge = Arc::new(Notify::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hook = Webhook::new("shop", provider, SECRET, Arc::clone(&nudge));
        tokio::spawn(serve_on(listener, Arc::new(vec![hook])));
        Self { address, nudge }
    }

    async fn send(&self, target: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
        let mut request = format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
        // Who is refused before its body was read may find the way closed.
        drop(stream.write_all(body).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_else(|_| panic!("{answer:?}"))
    }

    /// Whether somebody asked for a look since the last time.
    async fn nudged(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(50), self.nudge.notified()).await.is_ok()
    }
}

fn signature(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn only_who_knows_the_secret_asks_for_a_look() {
    for (provider, header, before, id) in [
        (Provider::Github, "X-Hub-Signature-256", "sha256=", "X-GitHub-Delivery"),
        (Provider::Gitea, "X-Gitea-Signature", "", "X-Gitea-Delivery"),
        (Provider::Forgejo, "X-Forgejo-Signature", "", "X-Forgejo-Delivery"),
        (Provider::Gitlab, "X-Gitlab-Token", "", "X-Gitlab-Event-UUID"),
    ] {
        let server = Server::new(provider).await;
        let sign = |secret: &str, body: &[u8]| match provider {
            Provider::Gitlab => secret.to_owned(),
            _ => format!("{before}{}", signature(secret, body)),
        };
        let right = sign(SECRET, b"{1}");
        let unsigned: [&[(&str, &str)]; 6] = [
            &[],
            &[(header, "")],
            &[(header, &sign("another", b"{1}"))],
            &[(header, before)],
            &[(header, &right), (header, &right)],
            &[("X-Gitea-Token", SECRET), ("Authorization", SECRET)],
        ];
        for headers in unsigned {
            assert_eq!(server.send("/shop", headers, b"{1}").await, 401, "{provider:?} {headers:?}");
        }
        if provider != Provider::Gitlab {
            assert_eq!(server.send("/shop", &[(header, &right)], b"{2}").await, 401, "{provider:?}");
            let half = right.get(..right.len() - 2).unwrap();
            assert_eq!(server.send("/shop", &[(header, half)], b"{1}").await, 401, "{provider:?}");
        }
        assert!(!server.nudged().await, "{provider:?}");
        assert_eq!(server.send("/shop", &[(header, &right), (id, "one")], b"{1}").await, 202, "{provider:?}");
        assert!(server.nudged().await, "{provider:?}");
        // The same again, under its own id, under another, and its id on another body.
        let other = sign(SECRET, b"{3}");
        assert_eq!(server.send("/shop", &[(header, &right), (id, "one")], b"{1}").await, 200, "{provider:?}");
        assert_eq!(server.send("/shop", &[(header, &right), (id, "two")], b"{1}").await, 200, "{provider:?}");
        assert_eq!(server.send("/shop", &[(header, &other), (id, "one")], b"{3}").await, 200, "{provider:?}");
        assert!(!server.nudged().await, "{provider:?}");
    }
}

#[tokio::test]
async fn another_provider_s_word_is_no_word() {
    let server = Server::new(Provider::Gitea).await;
    let signed = format!("sha256={}", signature(SECRET, b"{}"));
    for header in ["X-Hub-Signature-256", "X-Gogs-Signature"] {
        assert_eq!(server.send("/shop", &[(header, &signed), ("X-Gitlab-Token", SECRET)], b"{}").await, 401);
    }
    assert!(!server.nudged().await);
}

#[tokio::test]
async fn ten_a_minute_are_enough_and_none_is_too_large() {
    let server = Server::new(Provider::Github).await;
    let post = async |body: &[u8]| {
        let signed = format!("sha256={}", signature(SECRET, body));
        server.send("/shop", &[("X-Hub-Signature-256", &signed)], body).await
    };
    assert_eq!(post(&vec![b'x'; (1 << 20) + 1]).await, 413);
    for number in 0..10 {
        assert_eq!(post(format!("{number}").as_bytes()).await, 202);
    }
    assert_eq!(post(b"one more").await, 429);
    assert_eq!(server.send("/other", &[], b"").await, 404);
    assert_eq!(server.send("/", &[], b"").await, 404);
    // Ten deliveries, one look.
    assert!(server.nudged().await);
    assert!(!server.nudged().await);
}

/// Slow clients that complete their heads and send their bodies byte by byte, and others that send no head, more of them
/// than there are slots.
#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_keep_no_webhook_out() {
    let server = Server::new(Provider::Github).await;
    let most = Listener::Webhooks.limits().connections;
    let mut slow = Vec::new();
    for nth in 0..most + 40 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = if nth % 2 == 0 {
            "POST /shop HTTP/1.1\r\n"
        } else {
            "POST /shop HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
        };
        // One that was closed for a later one does no more harm.
        drop(stream.write_all(head.as_bytes()).await);
        slow.push(stream);
    }
    let drips = tokio::spawn(async move {
        let mut byte = [0; 256];
        while !slow.is_empty() {
            for mut stream in std::mem::take(&mut slow) {
                let open = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut byte)).await.is_err();
                if open && stream.write_all(b"a").await.is_ok() {
                    slow.push(stream);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // As slow as a client may be.
        }
    });
    for number in 0..10 {
        let body = format!("{number}");
        let signed = format!("sha256={}", signature(SECRET, body.as_bytes()));
        assert_eq!(server.send("/shop", &[("X-Hub-Signature-256", &signed)], body.as_bytes()).await, 202);
    }
    let ended = tokio::time::timeout(Duration::from_secs(40), drips).await;
    assert!(ended.is_ok(), "the slow ones are closed in the end");
}

/// Webhooks come through public names: any will do. Nothing can be read there by any.
#[tokio::test]
async fn a_webhook_s_host_is_not_asked_for_and_nothing_else_is_served() {
    let server = Server::new(Provider::Gitlab).await;
    let ask = async |request: &str| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let signed = format!(
        "POST /shop HTTP/1.1\r\nhost: hooks.example.org\r\nx-gitlab-token: {SECRET}\r\ncontent-length: 0\r\n\r\n"
    );
    assert!(ask(&signed).await.starts_with("HTTP/1.1 202"));
    for path in ["/", "/v1/services", "/metrics", "/healthz", "/shop/x"] {
        for host in ["localhost", "evil.example"] {
            let answer = ask(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 404") && answer.ends_with("there is no such webhook\n"), "{answer}");
        }
    }
    assert!(ask("GET /shop HTTP/1.1\r\nhost: evil.example\r\n\r\n").await.starts_with("HTTP/1.1 405"));
}
