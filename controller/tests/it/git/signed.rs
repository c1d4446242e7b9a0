//! Signatures: by keys that are listed on the host, and by nobody else.

use composed_source::git::Verify;

use super::*;

fn run(program: &str, words: &[&str], home: &Path) {
    let output = Command::new(program).args(words).env("HOME", home).env("GNUPGHOME", home).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A repository, and two keys: one that is listed and one that is not.
struct Keys {
    repo: Repo,
    dir: tempfile::TempDir,
}

impl Keys {
    fn new() -> Self {
        let keys = Self { repo: Repo::new(), dir: tempfile::tempdir().unwrap() };
        for name in ["listed", "other"] {
            let path = keys.dir.path().join(name);
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()], keys.dir.path());
        }
        let public = std::fs::read_to_string(keys.dir.path().join("listed.pub")).unwrap();
        std::fs::write(keys.signers(), format!("ann@shop.example {public}")).unwrap();
        keys.repo.git(&["config", "gpg.format", "ssh"]);
        keys
    }

    fn signers(&self) -> PathBuf {
        self.dir.path().join("signers")
    }

    fn signing(&self, key: &str) {
        self.repo.git(&["config", "user.signingkey", self.dir.path().join(key).to_str().unwrap()]);
    }

    /// Commits web with this image, signed by this key.
    fn commit(&self, image: &str, key: &str) {
        self.signing(key);
        self.repo.write("web.yaml", document("web", image));
        self.repo.git(&["add", "--all"]);
        self.repo.git(&["commit", "--quiet", "-S", "-m", image]);
    }

    fn source(&self, by: Verify) -> GitSource {
        let signed = Signed { by, allowed_signers: Some(self.signers()), keyring: None };
        GitSource { signed, ..self.repo.source() }
    }
}

#[tokio::test]
async fn a_commit_by_nobody_who_is_listed_is_refused() {
    if !are_here(&["git", "ssh-keygen"]) {
        return;
    }
    let (keys, state) = (Keys::new(), tempfile::tempdir().unwrap());
    keys.commit("web:1", "listed");
    let mut followed = Followed::begin([keys.source(Verify::Head)], state.path());
    assert_eq!(image(&followed.next().await, "web"), "web:1");
    keys.commit("web:2", "other");
    let (reading, problem) = followed.problem().await;
    assert!(problem.contains("no valid signature"), "{problem}");
    assert_eq!(image(&reading, "web"), "web:1");
    keys.repo.write("web.yaml", document("web", "web:3"));
    keys.repo.commit("unsigned");
    let (reading, problem) = followed.problem().await;
    assert!(problem.contains("no valid signature") && problem.contains("unsigned"), "{problem}");
    assert_eq!(image(&reading, "web"), "web:1");
    keys.commit("web:4", "listed");
    assert_eq!(image(&followed.next().await, "web"), "web:4");
    // Who is listed later is believed then, without a new commit.
    keys.commit("web:5", "other");
    let (_, problem) = followed.problem().await;
    assert!(problem.contains("no valid signature"), "{problem}");
    let both =
        ["listed", "other"].map(|name| std::fs::read_to_string(keys.dir.path().join(format!("{name}.pub"))).unwrap());
    std::fs::write(keys.signers(), both.map(|key| format!("ann@shop.example {key}")).concat()).unwrap();
    followed.nudge();
    assert_eq!(image(&followed.next().await, "web"), "web:5");
    followed.end().await;
    // Who is taken off the list is not believed at the next start, not even for what was good.
    std::fs::write(keys.signers(), "").unwrap();
    let mut followed = Followed::begin([keys.source(Verify::Head)], state.path());
    let (reading, problem) = followed.problem().await;
    assert!(reading.files.is_empty() && problem.contains("no valid signature"), "{problem}");
}

#[tokio::test]
async fn a_signed_tag_is_believed_under_its_own_name_only() {
    if !are_here(&["git", "ssh-keygen"]) {
        return;
    }
    let (keys, state) = (Keys::new(), tempfile::tempdir().unwrap());
    keys.commit("web:1", "other");
    keys.signing("listed");
    keys.repo.git(&["tag", "-s", "-m", "one", "v1.0.0"]);
    let source = GitSource { follow: Follow::parse("semver:1").unwrap(), ..keys.source(Verify::Tag) };
    let mut followed = Followed::begin([source], state.path());
    assert_eq!(image(&followed.next().await, "web"), "web:1");
    for (tag, words) in [("v1.1.0", "not signed"), ("v1.2.0", "no valid signature"), ("v1.3.0", "calls itself v1.0.0")]
    {
        keys.commit(tag, "listed");
        keys.signing("other");
        match tag {
            "v1.1.0" => drop(keys.repo.git(&["tag", tag])),
            "v1.2.0" => drop(keys.repo.git(&["tag", "-s", "-m", "x", tag])),
            _ => drop(keys.repo.git(&["update-ref", "refs/tags/v1.3.0", "refs/tags/v1.0.0"])),
        }
        let (reading, problem) = followed.problem().await;
        assert!(problem.contains(words), "{tag}: {problem}");
        assert_eq!(image(&reading, "web"), "web:1");
    }
    keys.signing("listed");
    keys.repo.git(&["tag", "-s", "-m", "good", "v1.4.0"]);
    assert_eq!(image(&followed.next().await, "web"), "v1.3.0");
}

#[tokio::test]
async fn openpgp_keys_are_taken_from_the_keyring_and_from_nowhere_else() {
    if !are_here(&["git", "gpg", "gpgconf"]) {
        return;
    }
    let (repo, home, state) = (Repo::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let gpg = |words: &[&str]| run("gpg", &[&["--batch", "--quiet", "--passphrase", ""], words].concat(), home.path());
    for who in ["ann@shop.example", "eve@shop.example"] {
        gpg(&["--quick-generate-key", who, "ed25519", "sign", "never"]);
    }
    let keyring = home.path().join("keyring.asc");
    gpg(&["--armor", "--output", keyring.to_str().unwrap(), "--export", "ann@shop.example"]);
    let program = home.path().join("gpg-here");
    std::fs::write(&program, format!("#!/bin/sh\nGNUPGHOME={} exec gpg \"$@\"\n", home.path().display())).unwrap();
    run("chmod", &["+x", program.to_str().unwrap()], home.path());
    repo.git(&["config", "gpg.program", program.to_str().unwrap()]);
    let commit = |image: &str, key: &str| {
        repo.write("web.yaml", document("web", image));
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", &format!("-S{key}"), "-m", image]);
    };
    commit("web:1", "ann@shop.example");
    let signed = Signed { by: Verify::Head, allowed_signers: None, keyring: Some(keyring) };
    let mut followed = Followed::begin([GitSource { signed, ..repo.source() }], state.path());
    assert_eq!(image(&followed.next().await, "web"), "web:1");
    commit("web:2", "eve@shop.example");
    let (reading, problem) = followed.problem().await;
    assert!(problem.contains("no valid signature"), "{problem}");
    assert_eq!(image(&reading, "web"), "web:1");
    run("gpgconf", &["--kill", "all"], home.path());
}

#[test]
fn rules_that_cannot_be_kept_are_told_before_anything_begins() {
    let with = |by: Verify, keys: bool, follow: &str| {
        let allowed_signers = keys.then(|| PathBuf::from("signers"));
        let signed = Signed { by, allowed_signers, keyring: None };
        GitSource { signed, follow: Follow::parse(follow).unwrap(), ..source("/srv/repo") }.check()
    };
    assert_eq!(with(Verify::Head, true, "main"), Ok(()));
    assert_eq!(with(Verify::Tag, true, "semver:*"), Ok(()));
    assert!(with(Verify::Head, false, "main").is_err());
    assert!(with(Verify::Tag, true, "main").is_err());
    assert!(with(Verify::None, true, "main").is_err());
}
