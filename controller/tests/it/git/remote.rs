//! Remotes: away and back, by file:// and by HTTP.

use super::*;

/// A bare repository that `repo` pushes to.
fn bare(repo: &Repo) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    repo.git(&["clone", "--quiet", "--bare", ".", dir.path().join("shop.git").to_str().unwrap()]);
    repo.git(&["remote", "add", "origin", dir.path().join("shop.git").to_str().unwrap()]);
    dir
}

#[tokio::test]
async fn a_push_is_taken_and_a_remote_that_is_away_stops_nothing() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let remote = bare(&repo);
    let url = format!("file://{}/shop.git", remote.path().display());
    let mut followed = Followed::begin([source(&url)], state.path());
    assert_eq!(image(&followed.next().await, "web"), "web:1");
    repo.write("web.yaml", document("web", "web:2"));
    repo.commit("two");
    repo.git(&["push", "--quiet", "origin", "main"]);
    assert_eq!(image(&followed.next().await, "web"), "web:2");
    let (there, away) = (remote.path().join("shop.git"), remote.path().join("away"));
    std::fs::rename(&there, &away).unwrap();
    followed.nudge();
    let (reading, problem) = followed.problem().await;
    assert!(problem.contains("shop.git") && problem.contains("stays in force"), "{problem}");
    assert_eq!(image(&reading, "web"), "web:2");
    followed.end().await;
    // A restart while it is away goes on with what was good.
    let mut followed = Followed::begin([source(&url)], state.path());
    let mut reading = followed.next().await;
    assert_eq!((image(&reading, "web").as_str(), reading.unread.clone()), ("web:2", None));
    while reading.refused.is_empty() {
        reading = followed.next().await;
    }
    std::fs::rename(&away, &there).unwrap();
    repo.write("web.yaml", document("web", "web:3"));
    repo.commit("three");
    repo.git(&["push", "--quiet", "origin", "main"]);
    // By itself: nobody nudges. It may have been seen to be back before the push.
    let mut reading = followed.next().await;
    while image(&reading, "web") != "web:3" {
        reading = followed.next().await;
    }
    assert_eq!(reading.refused.len(), 0);
}

#[tokio::test]
async fn without_state_a_remote_that_is_away_lets_nothing_be_removed() {
    use composed_core::model::{Desired, ServiceName};
    use composed_source::catalog::Catalog;
    if !git_is_here() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let mut followed = Followed::begin([source("/nowhere/shop.git")], state.path());
    let reading = followed.next().await;
    for confirmed in [false, true] {
        let catalog = Catalog::new(&reading, &Catalog::empty(confirmed));
        let web = ServiceName::new("shop", "web");
        let desired = catalog.desired(&web, &[web.clone()].into(), jiff::Timestamp::UNIX_EPOCH);
        assert!(matches!(&desired, Desired::Held(why) if why.contains("repo")), "{desired:?}");
    }
}

#[tokio::test]
async fn a_broken_copy_is_made_anew() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let mut followed = Followed::begin([repo.source()], state.path());
    followed.next().await;
    followed.end().await;
    let objects = state_of(state.path()).join("mirror.git/objects");
    std::fs::remove_dir_all(&objects).unwrap();
    std::fs::create_dir(&objects).unwrap();
    std::fs::write(state_of(state.path()).join("mirror.git/shallow.lock"), "").unwrap();
    let mut followed = Followed::begin([repo.source()], state.path());
    let mut reading = followed.next().await;
    while reading.files.is_empty() {
        reading = followed.next().await;
    }
    assert_eq!(image(&reading, "web"), "web:1");
}

/// A process that ends at any moment, and all that it has started with it.
#[test]
fn a_crash_at_any_moment_is_harmless() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let mut last = String::from("web:1");
    for number in 0..16_u32 {
        last = format!("web:{number}");
        repo.write("web.yaml", document("web", &last));
        repo.commit(&last);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let followed = runtime.block_on(async { Followed::begin([repo.source()], state.path()) });
        std::thread::sleep(Duration::from_millis(u64::from(number * 6))); // It is killed at this moment.
        runtime.shutdown_timeout(Duration::from_secs(5));
        drop(followed);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut followed = Followed::begin([repo.source()], state.path());
        loop {
            let reading = followed.next().await;
            assert_eq!(reading.refused, Vec::<String>::new());
            if !reading.files.is_empty() && image(&reading, "web") == last {
                return;
            }
        }
    });
}

/// A git server on this host: `git http-backend`, for who has this `Authorization`.
async fn http(root: PathBuf, authorization: &'static str) -> std::net::SocketAddr {
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::{Bytes, Incoming};
    use hyper::{Request, Response};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move |root: PathBuf, request: Request<Incoming>| async move {
        let (parts, body) = request.into_parts();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if parts.uri.path().starts_with("/moved") {
            let there = parts.uri.to_string().replacen("/moved", "", 1);
            return Response::builder().status(302).header("location", there).body(Full::default());
        }
        if header("authorization") != authorization {
            return Response::builder().status(401).header("www-authenticate", "Basic").body(Full::default());
        }
        let mut command = Command::new("git");
        command.arg("http-backend").env("GIT_HTTP_EXPORT_ALL", "1").env("GIT_PROJECT_ROOT", root);
        command.env("PATH_INFO", parts.uri.path()).env("QUERY_STRING", parts.uri.query().unwrap_or_default());
        command.env("REQUEST_METHOD", parts.method.as_str()).env("CONTENT_TYPE", header("content-type"));
        command.env("HTTP_CONTENT_ENCODING", header("content-encoding")).env("GIT_PROTOCOL", header("git-protocol"));
        let body = body.collect().await.unwrap().to_bytes();
        command.env("CONTENT_LENGTH", body.len().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &body).unwrap();
        let output = child.wait_with_output().unwrap().stdout;
        let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let mut response = Response::builder();
        for line in String::from_utf8_lossy(&output[..end]).lines() {
            let (name, value) = line.split_once(": ").unwrap();
            response = match name {
                "Status" => response.status(&value[..3]),
                _ => response.header(name, value),
            };
        }
        response.body(Full::new(Bytes::from(output[end + 4..].to_vec())))
    };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let root = root.clone();
            let service = hyper::service::service_fn(move |request| answer(root.clone(), request));
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_the_way_by_http_and_is_never_shown() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let remote = bare(&repo);
    // git:hunter2
    let address = http(remote.path().to_owned(), "Basic Z2l0Omh1bnRlcjI=").await;
    let token = remote.path().join("token");
    std::fs::write(&token, "wrong-hunter3\n").unwrap();
    let url = format!("http://{address}/shop.git");
    let access = Access { token_file: Some(token.clone()), ..Access::default() };
    let of = |url: &str| GitSource { access: access.clone(), ..source(url) };
    let mut followed = Followed::begin([of(&url)], state.path());
    let (_, problem) = followed.problem().await;
    assert!(problem.contains(&url) && !problem.contains("hunter"), "{problem}");
    // A token that is replaced is used with the next look.
    std::fs::write(&token, "hunter2\n").unwrap();
    assert_eq!(image(&followed.next().await, "web"), "web:1");
    repo.write("web.yaml", document("web", "web:2"));
    repo.commit("two");
    repo.git(&["push", "--quiet", "origin", "main"]);
    followed.nothing().await;
    followed.nudge();
    assert_eq!(image(&followed.next().await, "web"), "web:2");
    followed.end().await;
    let other = tempfile::tempdir().unwrap();
    let mut moved = Followed::begin([of(&format!("http://{address}/moved/shop.git"))], other.path());
    let (reading, problem) = moved.problem().await;
    assert!(reading.files.is_empty() && problem.contains("302"), "{problem}");
}
