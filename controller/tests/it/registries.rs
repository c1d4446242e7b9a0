//! Questions to servers that behave as registries do, for better and for worse. (A real one: e2e.)

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use composed_core::reference::Reference;
use composed_platform::clock::Clock;
use composed_registry::credentials::Credentials;
use composed_registry::registry::Registries;
use composed_registry::{RegistryClient as _, RegistryError};
use crd_schema::{ImageDigest, ImageRef};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A request: its first line without the version, and its `Authorization`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    what: String,
    key: Option<String>,
}

type Asks = Arc<Mutex<Vec<Asked>>>;

/// A server on loopback that answers with what `answer` makes of a request: status, headers and body.
async fn server(answer: impl Fn(&Asked, u16) -> (&'static str, String, String) + Send + 'static) -> (u16, Asks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asks = Asks::default();
    let seen = Arc::clone(&asks);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = vec![0; 8192];
            let length = stream.read(&mut text).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&text[..length]).into_owned();
            let what = text.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
            let key = text.lines().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_owned);
            let asked = Asked { what, key };
            let (status, headers, body) = answer(&asked, port);
            let head = asked.what.starts_with("HEAD");
            seen.lock().unwrap().push(asked);
            let length = body.len();
            let body = if head { String::new() } else { body };
            let text =
                format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}");
            drop(stream.write_all(text.as_bytes()).await);
        }
    });
    (port, asks)
}

fn taken(asks: &Asks) -> Vec<String> {
    std::mem::take(&mut *asks.lock().unwrap()).into_iter().map(|asked| asked.what).collect()
}

fn image(port: u16) -> Reference {
    Reference::parse(&ImageRef::new(format!("127.0.0.1:{port}/shop/web:1"))).unwrap()
}

/// With a login for a registry, `ann` and `hunter2`, if there is one.
fn registries(port: Option<u16>) -> (Registries, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    if let Some(port) = port {
        let auths = format!(r#"{{"auths": {{"127.0.0.1:{port}": {{"username": "ann", "password": "hunter2"}}}}}}"#);
        std::fs::write(dir.path().join("config.json"), auths).unwrap();
    }
    (Registries::new(Credentials::in_dir(dir.path().to_owned()), Clock::system()), dir)
}

const MANIFEST: &str = "HEAD /v2/shop/web/manifests/1";
/// Of `ann:hunter2`.
const BASIC: &str = "Basic YW5uOmh1bnRlcjI=";

fn digest() -> (&'static str, String, String) {
    ("200 OK", "docker-content-digest: sha256:abc\r\n".to_owned(), String::new())
}

/// A registry with a token server that gives tokens for so many seconds to who has the password.
async fn with_tokens(life: u32) -> (u16, Asks) {
    server(move |asked, port| {
        if asked.what == "GET /token?service=r&scope=repository%3Ashop%2Fweb%3Apull" {
            return match asked.key.as_deref() {
                Some(BASIC) => ("200 OK", String::new(), format!(r#"{{"token": "t0ken", "expires_in": {life}}}"#)),
                _ => ("401 Unauthorized", String::new(), "no".to_owned()),
            };
        }
        if asked.what == MANIFEST && asked.key.as_deref() == Some("Bearer t0ken") {
            return digest();
        }
        let realm = format!("http://127.0.0.1:{port}/token");
        let scope = "repository:shop/web:pull";
        let challenge = format!("www-authenticate: Bearer realm=\"{realm}\",service=\"r\",scope=\"{scope}\"\r\n");
        ("401 Unauthorized", challenge, String::new())
    })
    .await
}

#[tokio::test]
async fn an_index_and_a_single_image_say_what_they_are_for() {
    let (port, asks) = server(|asked, _| {
        let json = |body: &str| ("200 OK", String::new(), body.to_owned());
        match asked.what.as_str() {
            "GET /v2/shop/web/manifests/sha256:1" => json(
                r#"{"manifests": [{"platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
                    {"platform": {"os": "unknown", "architecture": "unknown"}}, {}]}"#,
            ),
            "GET /v2/shop/web/manifests/sha256:2" => json(r#"{"config": {"digest": "sha256:c"}, "layers": []}"#),
            "GET /v2/shop/web/blobs/sha256:c" => json(r#"{"os": "linux", "architecture": "amd64", "config": {}}"#),
            _ => json("[]"),
        }
    })
    .await;
    let (registries, _dir) = registries(None);
    let names = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect());
    let image = image(port);
    let all = registries.platforms(&image, &ImageDigest::new("sha256:1")).await;
    assert_eq!(all, names(&["linux/arm", "linux/arm/v7", "unknown/unknown"]));
    assert_eq!(taken(&asks).len(), 1);
    assert_eq!(registries.platforms(&image, &ImageDigest::new("sha256:2")).await, names(&["linux/amd64"]));
    let refused = registries.platforms(&image, &ImageDigest::new("sha256:3")).await;
    assert!(matches!(&refused, Err(RegistryError::Refused(why)) if why.contains("not an image")), "{refused:?}");
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_while_it_is_good() {
    let (port, asks) = with_tokens(300).await;
    let (registries, _dir) = registries(Some(port));
    let token = "GET /token?service=r&scope=repository%3Ashop%2Fweb%3Apull";
    assert_eq!(registries.digest(&image(port)).await, Ok(ImageDigest::new("sha256:abc")));
    assert_eq!(taken(&asks), [MANIFEST, token, MANIFEST]);
    for _ in 0..3 {
        assert_eq!(registries.digest(&image(port)).await, Ok(ImageDigest::new("sha256:abc")));
        assert_eq!(taken(&asks), [MANIFEST], "one request");
    }
}

#[tokio::test]
async fn a_token_that_ends_soon_is_renewed_without_being_turned_away() {
    let (port, asks) = with_tokens(5).await;
    let (registries, _dir) = registries(Some(port));
    registries.digest(&image(port)).await.unwrap();
    taken(&asks);
    registries.digest(&image(port)).await.unwrap();
    let all = taken(&asks);
    assert_eq!((all.len(), all[1].as_str()), (2, MANIFEST), "{all:?}");
}

#[tokio::test]
async fn who_has_no_login_or_a_wrong_one_is_told_so_without_the_password() {
    let (port, _) = with_tokens(300).await;
    let (open, _dir) = registries(None);
    let Err(RegistryError::Refused(why)) = open.digest(&image(port)).await else { panic!("it was let in") };
    assert!(why.contains("docker login"), "{why}");
    let (port, _) =
        server(|_, _| ("401 Unauthorized", "www-authenticate: Basic realm=x\r\n".into(), String::new())).await;
    let (registries, _dir) = registries(Some(port));
    let Err(RegistryError::Refused(why)) = registries.digest(&image(port)).await else { panic!("it was let in") };
    assert!(why.contains("does not accept our credentials") && !why.contains("hunter2"), "{why}");
}

#[tokio::test]
async fn a_password_goes_nowhere_else() {
    // To a token server only if that is encrypted or here; to where a registry sends us not at all.
    let realm = "www-authenticate: Bearer realm=\"http://tokens.example/\",service=\"r\"\r\n";
    let (port, asks) = server(move |_, _| ("401 Unauthorized", realm.to_owned(), String::new())).await;
    let (known, _dir) = registries(Some(port));
    let Err(RegistryError::Refused(why)) = known.digest(&image(port)).await else { panic!("it was let in") };
    assert!(why.contains("not encrypted"), "{why}");
    assert_eq!(taken(&asks), [MANIFEST]);

    // Nor in plain HTTP to another program of this host.
    let (elsewhere, there) = server(|_, _| digest()).await;
    for head in ["HEAD /v2", "none"] {
        let (port, _) = server(move |asked, _| {
            let to = format!("http://127.0.0.1:{elsewhere}/blob");
            if asked.key.is_none() && asked.what.starts_with(head) {
                let bearer = format!("www-authenticate: Bearer realm=\"{to}\",service=\"r\"\r\n");
                return ("401 Unauthorized", bearer, String::new());
            }
            ("307 Temporary Redirect", format!("location: {to}\r\n"), String::new())
        })
        .await;
        let (known, _dir) = registries(Some(port));
        let Err(RegistryError::Refused(why)) = known.digest(&image(port)).await else { panic!("it was let in") };
        assert!(why.contains(&format!("127.0.0.1:{elsewhere}/blob")) && why.contains("not encrypted"), "{why}");
    }
    assert_eq!(*there.lock().unwrap(), [], "it is not even connected to");
}

/// A registry on loopback may send to loopback and to public addresses, and to no other network of this host.
#[tokio::test]
async fn a_registry_cannot_send_us_into_networks_that_it_is_not_in() {
    for host in [
        "10.255.255.1",
        "192.168.255.1:5000",
        "169.254.169.254",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]:443",
        "[::ffff:10.255.255.1]",
        "[64:ff9b::aff:ff01]",
        "0.0.0.0",
        "0",
        "224.0.0.1",
    ] {
        for as_realm in [true, false] {
            let (port, _) = server(move |asked, _| {
                let to = format!("https://{host}/secret?a=b");
                if as_realm && asked.key.is_none() {
                    let bearer = format!("www-authenticate: Bearer realm=\"{to}\",service=\"r\"\r\n");
                    return ("401 Unauthorized", bearer, String::new());
                }
                ("307 Temporary Redirect", format!("location: {to}\r\n"), String::new())
            })
            .await;
            let (known, _dir) = registries(Some(port));
            let answer = tokio::time::timeout(Duration::from_secs(5), known.digest(&image(port))).await.unwrap();
            let Err(RegistryError::Refused(why)) = answer else { panic!("{host}: {answer:?}") };
            assert!(why.contains("only a registry that is itself at such an address"), "{host}: {why}");
            assert!(why.contains(&format!("127.0.0.1:{port}")) && !why.contains("hunter2"), "{host}: {why}");
        }
    }
}

#[tokio::test]
async fn what_a_registry_answers_is_told_apart() {
    let (answers, _dir) = registries(None);
    for (status, headers, expected) in [
        ("429 Too Many Requests", "retry-after: 120\r\n", "busy 120"),
        ("429 Too Many Requests", "", "busy"),
        ("503 Service Unavailable", "retry-after: 60\r\n", "busy 60"),
        ("502 Bad Gateway", "", "away"),
        ("404 Not Found", "", "refused"),
        ("403 Forbidden", "", "refused"),
        ("302 Found", "location: http://registry.example/\r\n", "refused"),
        ("302 Found", "location: /v2/shop/web/manifests/1\r\n", "refused"),
    ] {
        let (port, _) = server(move |_, _| (status, headers.to_owned(), String::new())).await;
        let seen = match answers.digest(&image(port)).await {
            Err(RegistryError::Busy { wait: Some(wait), .. }) => format!("busy {}", wait.as_secs()),
            Err(RegistryError::Busy { .. }) => "busy".to_owned(),
            Err(RegistryError::Away(_)) => "away".to_owned(),
            Err(RegistryError::Refused(_) | RegistryError::TooLong) => "refused".to_owned(),
            Ok(answer) => answer.to_string(),
        };
        assert_eq!(seen, expected, "{status} {headers}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert!(matches!(answers.digest(&image(nobody)).await, Err(RegistryError::Away(_))));
}

#[tokio::test]
async fn a_digest_that_is_not_told_is_computed() {
    let (port, asks) = server(|_, _| ("200 OK", String::new(), "{}".to_owned())).await;
    let (registries, _dir) = registries(None);
    // sha256sum of `{}`.
    let expected = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(registries.digest(&image(port)).await, Ok(ImageDigest::new(expected)));
    assert_eq!(taken(&asks), [MANIFEST, "GET /v2/shop/web/manifests/1"]);
}

#[tokio::test]
async fn tags_come_by_pages() {
    let (port, asks) = server(|asked, _| {
        let more = "link: </v2/shop/web/tags/list?n=1000&last=b>; rel=\"next\"\r\n";
        match asked.what.as_str() {
            "GET /v2/shop/web/tags/list?n=1000" => ("200 OK", more.to_owned(), r#"{"tags": ["a", "b"]}"#.to_owned()),
            _ => ("200 OK", String::new(), r#"{"tags": ["c"]}"#.to_owned()),
        }
    })
    .await;
    let (registries, _dir) = registries(None);
    assert_eq!(registries.tags(&image(port)).await, Ok(["a", "b", "c"].map(str::to_owned).to_vec()));
    assert_eq!(taken(&asks).len(), 2);
    let (port, _) =
        server(|_, _| ("200 OK", "link: </v2/x>; rel=\"next\"\r\n".into(), r#"{"tags": null}"#.into())).await;
    let endless = tokio::time::timeout(Duration::from_secs(10), registries.tags(&image(port))).await.unwrap();
    assert!(matches!(endless, Err(RegistryError::Refused(why)) if why.contains("more than 50 pages")));
}

/// A server on loopback that writes `head` and then `more`, again and again, to each connection, until nobody reads any
/// more. Its count is of what it could write.
async fn endless(head: &'static str, more: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sent = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                drop(stream.read(&mut [0; 8192]).await);
                let block = more.repeat((1 << 16) / more.len() + 1);
                let mut next = head;
                // A bound of its own: 512 MiB.
                while count.load(SeqCst) < 512 << 20 && stream.write_all(next.as_bytes()).await.is_ok() {
                    count.fetch_add(next.len(), SeqCst);
                    next = &block;
                }
            });
        }
    });
    (port, sent)
}

/// What the kernel keeps of a connection on loopback, on both sides.
const BUFFERS: usize = 16 << 20;

#[tokio::test]
async fn an_answer_without_an_end_is_read_up_to_its_bound() {
    let (registries, _dir) = registries(None);
    let list = "HTTP/1.1 200 OK\r\n\r\n{\"tags\": [\"a\"";
    for (head, more) in [(list, ", \"abcdefgh\""), (list, " "), ("HTTP/1.1 200 OK\r\n\r\n", "\0")] {
        let (port, sent) = endless(head, more).await;
        let answer = tokio::time::timeout(Duration::from_secs(30), registries.tags(&image(port))).await.unwrap();
        let Err(RegistryError::Refused(why)) = answer else { panic!("{answer:?}") };
        assert!(why.contains("lists more than 8388608 bytes of tags; the last answer stays"), "{why}");
        let sent = sent.load(SeqCst);
        assert!(sent < (8 << 20) + BUFFERS, "{sent}");
        let (port, sent) = endless(head, more).await;
        let answer = registries.platforms(&image(port), &ImageDigest::new("sha256:1")).await;
        assert!(matches!(&answer, Err(RegistryError::Refused(why)) if why.contains("longer answer")), "{answer:?}");
        assert!(sent.load(SeqCst) < (4 << 20) + BUFFERS);
    }
}

#[tokio::test]
async fn a_head_without_an_end_is_read_up_to_its_bound() {
    let (registries, _dir) = registries(None);
    for more in ["www-authenticate: Bearer realm=\"https://a.example/\"\r\n", "a"] {
        let (port, sent) = endless("HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer realm=\"", more).await;
        let answer = tokio::time::timeout(Duration::from_secs(30), registries.digest(&image(port))).await.unwrap();
        assert!(matches!(answer, Err(RegistryError::Away(_))), "{answer:?}");
        // It is asked in plain text and encrypted.
        assert!(sent.load(SeqCst) < 2 * BUFFERS, "{sent:?}");
    }
}

#[tokio::test]
async fn pages_are_bounded_together() {
    // Pages of 1 MB of what can be no tag, and pages of short tags.
    let long = format!("{{\"tags\": [{}\"z\"]}}", format!("\"{}\", ", "a".repeat(200)).repeat(5_000));
    let many = format!("{{\"tags\": [{}\"z\"]}}", "\"a\", ".repeat(9_999));
    for (page, expected, most) in [(long, "bytes of tags", 9), (many, "50000 tags", 6)] {
        let size = page.len();
        let (port, asks) = server(move |_, _| {
            ("200 OK", "link: </v2/shop/web/tags/list?last=z>; rel=\"next\"\r\n".to_owned(), page.clone())
        })
        .await;
        let (registries, _dir) = registries(None);
        let answer = registries.tags(&image(port)).await;
        assert!(matches!(&answer, Err(RegistryError::Refused(why)) if why.contains(expected)), "{answer:?}");
        assert!(taken(&asks).len() <= most, "{size} bytes a page");
    }
}

#[tokio::test]
async fn what_cannot_be_a_tag_or_a_digest_is_none() {
    let (port, _) = server(|asked, _| {
        let tags = format!("{{\"tags\": [\"1.2\", \"{}\", \"\\u001b[31m\", \"a b\", \"\"]}}", "9".repeat(100_000));
        let digest = format!("docker-content-digest: sha256:{}\r\n", "a".repeat(10_000));
        if asked.what.starts_with("HEAD") { ("200 OK", digest, String::new()) } else { ("200 OK", String::new(), tags) }
    })
    .await;
    let (registries, _dir) = registries(None);
    assert_eq!(registries.tags(&image(port)).await, Ok(vec!["1.2".to_owned()]));
    let digest = registries.digest(&image(port)).await.unwrap();
    assert_eq!(digest.as_str().len(), "sha256:".len() + 64, "it was computed");
}

#[tokio::test(start_paused = true)]
async fn a_question_has_so_long_with_all_its_pages() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.read(&mut [0; 8192]).await);
            // Each page is just in time.
            tokio::time::sleep(Duration::from_secs(15)).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n";
            let page = format!("{head}link: </v2/x>; rel=\"next\"\r\n\r\n{{\"tags\": []}} ");
            drop(stream.write_all(page.trim_end().as_bytes()).await);
        }
    });
    let (registries, _dir) = registries(None);
    let begin = tokio::time::Instant::now();
    let answer = registries.tags(&image(port)).await;
    assert!(matches!(&answer, Err(RegistryError::Away(why)) if why.contains("within 60 s")), "{answer:?}");
    assert!(begin.elapsed() < Duration::from_secs(62));
}
