//! The bounds of a copy, with real repositories.

use std::io::Read as _;
use std::process::Command;

use super::*;

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    /// A repository with so many commits; `None` without git.
    fn new(commits: usize) -> Option<Self> {
        let there = Command::new("git").arg("--version").output().is_ok_and(|output| output.status.success());
        if !there {
            assert!(std::env::var("COMPOSED_REQUIRE_DOCKER").as_deref() != Ok("1"), "git is not installed");
            eprintln!("skipped: git is not installed");
            return None;
        }
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        scene.git(&["init", "--quiet", "--initial-branch=main"]);
        for number in 0..commits {
            scene.commit(&format!("{number}"));
        }
        Some(scene)
    }

    fn git(&self, words: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=Ann", "-c", "user.email=ann@shop.example"]).args(words);
        command.current_dir(self.dir.path()).env("HOME", self.dir.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, text: &str) -> String {
        std::fs::write(self.dir.path().join("file"), text).unwrap();
        self.git(&["add", "file"]);
        self.git(&["commit", "--quiet", "-m", "x"]);
        self.git(&["rev-parse", "HEAD"])
    }

    async fn mirror(&self) -> Mirror {
        let address = Address::parse(self.dir.path().to_str().unwrap()).unwrap();
        let room = self.dir.path().join("room");
        Mirror::open(&room, &address, &Access::default(), None).await.unwrap().unwrap()
    }

    fn offer(&self) -> Offer {
        Offer { name: "refs/heads/main".to_owned(), object: self.git(&["rev-parse", "main"]) }
    }
}

async fn commits(mirror: &Mirror) -> usize {
    let text = mirror.git.text(&["rev-list", "--count", SEEN], LOCAL).await.unwrap();
    text.trim().parse().unwrap()
}

#[tokio::test]
async fn only_as_much_history_is_fetched_as_is_needed() {
    let Some(scene) = Scene::new(103) else { return };
    let first = scene.git(&["rev-list", "--max-parents=0", "HEAD"]);
    let mirror = scene.mirror().await;
    let base = mirror.fetch(&scene.offer(), None).await.unwrap();
    assert_eq!(commits(&mirror).await, 1);
    scene.commit("a");
    let next = mirror.fetch(&scene.offer(), Some(&base)).await.unwrap();
    assert_eq!(commits(&mirror).await, 2);
    assert!(mirror.descends(&base, &next).await.unwrap() && !mirror.descends(&next, &base).await.unwrap());
    mirror.begin("sha1").await.unwrap();
    mirror.fetch(&scene.offer(), Some(&base)).await.unwrap();
    assert_eq!(commits(&mirror).await, 100);
    assert!(mirror.descends(&base, &next).await.unwrap());
    mirror.fetch(&scene.offer(), Some(&first)).await.unwrap();
    assert_eq!(commits(&mirror).await, 104);
    assert!(mirror.descends(&first, &next).await.unwrap());
}

#[tokio::test]
async fn a_copy_that_would_be_too_large_is_refused_and_leaves_nothing() {
    let Some(scene) = Scene::new(1) else { return };
    let mut mirror = scene.mirror().await;
    mirror.max_size = 1 << 20;
    mirror.fetch(&scene.offer(), None).await.unwrap();
    let noise: String = std::iter::repeat_with(|| fastrand::char(' '..'\u{fff}')).take(3 << 20).collect();
    scene.commit(&noise);
    let error = mirror.fetch(&scene.offer(), None).await.unwrap_err();
    assert!(matches!(&error, GitError::TooMuch(why) if why.contains("1 MiB")), "{error}");
}

#[tokio::test]
async fn a_copy_is_one_process_s_at_a_time() {
    let Some(scene) = Scene::new(1) else { return };
    let mirror = scene.mirror().await;
    let room = scene.dir.path().join("room");
    let again = async || Mirror::open(&room, &mirror.address, &Access::default(), None).await.unwrap();
    assert!(again().await.is_none());
    drop(mirror);
    // A child of another test, until it has become its program, holds what was open when it was made.
    let (access, address) = (Access::default(), Address::parse("/x").unwrap());
    let free = async { while Mirror::open(&room, &address, &access, None).await.unwrap().is_none() {} };
    tokio::time::timeout(Duration::from_secs(10), free).await.expect("it is free again");
}

#[tokio::test]
async fn a_repository_of_longer_names_is_read_as_well() {
    let Some(scene) = Scene::new(0) else { return };
    std::fs::remove_dir_all(scene.dir.path().join(".git")).unwrap();
    scene.git(&["init", "--quiet", "--initial-branch=main", "--object-format=sha256"]);
    let id = scene.commit("a");
    let mirror = scene.mirror().await;
    let (offers, head) = mirror.offers(&Follow::Ref("refs/heads/main".to_owned())).await.unwrap();
    assert_eq!((offers, head), (vec![scene.offer()], None));
    assert_eq!(mirror.fetch(&scene.offer(), None).await.unwrap(), id);
    assert_eq!(mirror.about(&id, "repo").await.unwrap().id, id);
}

#[tokio::test]
async fn who_does_not_answer_is_given_up_with_all_that_was_started() {
    let Some(scene) = Scene::new(0) else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let git = Git { protocol: "http", ..scene.mirror().await.git.clone() };
    let url = format!("http://{}/x.git", listener.local_addr().unwrap());
    let error = git.run(&["ls-remote", "--", &url], Duration::from_secs(3)).await.unwrap_err();
    assert!(matches!(&error, GitError::Slow(verb, _) if verb == "ls-remote"), "{error}");
    // The helper that has the connection is gone, too.
    listener.set_nonblocking(true).unwrap();
    let (mut stream, _) = listener.accept().expect("it had begun to ask");
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut request = Vec::new();
    let ended = stream.read_to_end(&mut request);
    assert!(ended.is_ok() && !request.is_empty(), "{ended:?}");
}

#[tokio::test]
async fn by_ssh_only_the_given_key_and_hosts_count() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(scene) = Scene::new(0) else { return };
    let path = |name: &str| scene.dir.path().join(name);
    let access = Access { ssh_key: Some(path("a key")), known_hosts: Some(path("hosts")), token_file: None };
    let address = Address::parse("ssh://git@h.example:2222/team/shop.git").unwrap();
    let mirror = Mirror::open(&path("a room"), &address, &access, None).await.unwrap().unwrap();
    std::fs::create_dir(path("bin")).unwrap();
    std::fs::write(path("bin/ssh"), format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {}\n", path("words").display()))
        .unwrap();
    std::fs::set_permissions(path("bin/ssh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let search = format!("{}:{}", path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = mirror.git.command(["ls-remote", "--", address.url()]);
    // It gets no answer.
    assert!(!command.env("PATH", search).status().await.unwrap().success());
    let words = std::fs::read_to_string(path("words")).unwrap();
    let config = path("a room/home/ssh_config");
    let expected = format!("-F\n{}\n", config.display());
    assert!(words.starts_with(&expected) && words.contains("\n2222\ngit@h.example\n"), "{words}");
    // What ssh itself makes of it, where there is one.
    let Ok(output) = Command::new("ssh").arg("-G").arg("-F").arg(&config).arg("h.example").output() else { return };
    let text = String::from_utf8(output.stdout).unwrap().to_lowercase();
    let key = format!("identityfile \"{}\"", path("a key").display()).to_lowercase();
    let plain = key.replace('"', "");
    for line in
        ["stricthostkeychecking true", "batchmode yes", "identitiesonly yes", "identityagent none", "forwardagent no"]
    {
        assert!(text.lines().any(|said| said == line), "{line}\n{text}");
    }
    assert!(text.contains(&key) || text.contains(&plain), "{text}");
    assert!(text.contains(&format!("userknownhostsfile {}", path("hosts").display()).to_lowercase()), "{text}");
}

#[tokio::test]
async fn only_the_one_protocol_may_be_used_and_no_hook_runs() {
    let Some(scene) = Scene::new(1) else { return };
    let mirror = scene.mirror().await;
    for url in ["ext::sh -c true", "http://127.0.0.1:1/x", "ssh://127.0.0.1/x"] {
        let ended = mirror.git.ask(&["ls-remote", "--", url], LOCAL).await.unwrap();
        assert!(!ended.success && ended.complaint.contains("not allowed"), "{url}: {}", ended.complaint);
    }
    let hooks = mirror.git.dir.join("hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    let hook = hooks.join("reference-transaction");
    std::fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", scene.dir.path().join("ran").display())).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    mirror.fetch(&scene.offer(), None).await.unwrap();
    assert!(!scene.dir.path().join("ran").exists());
}
