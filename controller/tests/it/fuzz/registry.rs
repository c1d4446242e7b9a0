//! A registry that answers with anything, to every question that is asked of registries.

use composed_core::reference::Reference;
use composed_platform::clock::Clock;
use composed_registry::RegistryClient as _;
use composed_registry::credentials::Credentials;
use composed_registry::registry::Registries;
use crd_schema::{ImageDigest, ImageRef};
use fastrand::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::mutate::worse;

const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "location: http://127.0.0.1:1/\r\n",
    "location: https://[::ffff:10.0.0.1]/\r\n",
    "link: <>; rel=\"next\"\r\n",
    "www-authenticate: Bearer realm=\"https://10.0.0.1/t\",service=\"a\",scope=\"b\"\r\n",
    "retry-after: 99999999999999999999\r\n",
    "transfer-encoding: chunked\r\n",
    "content-length: 18446744073709551615\r\n",
    "\"tags\":[",
    "\"v1\",",
    "\"manifests\":[{\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}},",
    "null",
    "[[[[[[[[[[[[",
    "{\"token\":\"",
    "1e999",
];

/// Good answers, one of each kind.
const GOOD: [&str; 6] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndocker-content-digest: sha256:abc\r\n\r\n",
    "HTTP/1.1 200 OK\r\nlink: </v2/shop/web/tags/list?last=v2>; rel=\"next\"\r\ncontent-length: 36\r\n\r\n{\"name\":\"shop/web\",\"tags\":[\"v1\",\"v2\"]}",
    "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer realm=\"http://127.0.0.1:PORT/token\",service=\"r\"\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 35\r\n\r\n{\"token\":\"t0ken\",\"expires_in\":300  }",
    "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:PORT/v2/else\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.oci.image.index.v1+json\r\ncontent-length: 81\r\n\r\n{\"manifests\":[{\"digest\":\"a\",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\"}}]}   ",
];

async fn answer(mut stream: TcpStream, mut rng: Rng, port: u16) -> std::io::Result<()> {
    let mut head = vec![0; 16 << 10];
    if stream.read(&mut head).await? == 0 {
        return Ok(());
    }
    let good = GOOD[rng.usize(..GOOD.len())].replace("PORT", &port.to_string());
    let text = if rng.u8(..3) > 0 { good.into_bytes() } else { worse(&mut rng, good.as_bytes(), WORDS) };
    stream.write_all(&text).await?;
    if rng.u8(..60) == 0 {
        let piece = b"\"x\", ".repeat(100_000);
        for _ in 0..128 {
            stream.write_all(&piece).await?;
        }
    }
    stream.shutdown().await
}

/// A registry, and every question twice: what was remembered of the first answer counts for the second.
pub(super) async fn play(mut rng: Rng) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    let mut answers = rng.fork();
    let registry = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(tokio::spawn(answer(stream, answers.fork(), port)));
        }
    });
    let dir = tempfile::tempdir().expect("a directory");
    let auths = format!(r#"{{"auths": {{"127.0.0.1:{port}": {{"username": "ann", "password": "hunter2"}}}}}}"#);
    std::fs::write(dir.path().join("config.json"), auths).expect("a file");
    let registries = Registries::new(Credentials::in_dir(dir.path().to_owned()), Clock::system());
    let image = Reference::parse(&ImageRef::new(format!("127.0.0.1:{port}/shop/web:1"))).expect("a reference");
    let talk = async {
        for _ in 0..2 {
            let problems = [
                registries.digest(&image).await.err().map(|why| format!("{why:?}")),
                registries.tags(&image).await.err().map(|why| format!("{why:?}")),
                registries.platforms(&image, &ImageDigest::new("sha256:abc")).await.err().map(|why| format!("{why:?}")),
            ];
            for problem in problems.into_iter().flatten() {
                assert!(!problem.contains("hunter2") && problem.len() < 4096, "{problem}");
            }
        }
    };
    drop(tokio::time::timeout(std::time::Duration::from_secs(3), talk).await);
    registry.abort();
}
