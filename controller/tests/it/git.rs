//! Git as the source: real repositories, made by the tests. What is wrong changes nothing; what is right is taken in whole.

mod bad;
mod compose;
mod remote;
mod rewritten;
mod settings;
mod signed;
mod write_back;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use composed_source::compose::ComposeOptions;
use composed_source::files::Reading;
use composed_source::git::{Access, Address, Follow, GitSource, Signed, watch};
use composed_source::host::HostName;
use composed_status::store::StatusStore;
use tokio::sync::{Notify, mpsc};

/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(30);
/// Long enough to see that nothing comes.
const MOMENT: Duration = Duration::from_millis(700);

/// Whether these programs are installed; without them a test says so and is skipped, unless the tests must be whole.
fn are_here(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing = programs.iter().find(|program| !std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if let Some(missing) = missing {
        assert!(std::env::var("COMPOSED_REQUIRE_DOCKER").as_deref() != Ok("1"), "{missing} is not installed");
        eprintln!("skipped: {missing} is not installed");
    }
    missing.is_none()
}

pub(crate) fn git_is_here() -> bool {
    are_here(&["git"])
}

fn document(name: &str, image: &str) -> String {
    format!(
        "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\nspec:\n  image: {image}\n"
    )
}

/// A repository with a work tree, as people have it.
struct Repo {
    dir: tempfile::TempDir,
}

impl Repo {
    fn new() -> Self {
        let repo = Self { dir: tempfile::tempdir().unwrap() };
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        repo
    }

    /// One with a document in a commit.
    fn with_web() -> Self {
        let repo = Self::new();
        repo.write("web.yaml", document("web", "web:1"));
        repo.commit("one");
        repo
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn git(&self, words: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(words).current_dir(self.path());
        command.env("HOME", self.path()).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ann").env(format!("GIT_{who}_EMAIL"), "ann@shop.example");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Commits all there is; returns the commit.
    fn commit(&self, subject: &str) -> String {
        self.git(&["add", "--all", "--force"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--no-gpg-sign", "-m", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn source(&self) -> GitSource {
        source(self.path().to_str().unwrap())
    }
}

/// A source that is not asked unless something tells to.
fn source(address: &str) -> GitSource {
    GitSource {
        name: "repo".to_owned(),
        address: Address::parse(address).unwrap(),
        follow: Follow::Default,
        path: String::new(),
        interval: Duration::from_hours(1),
        access: Access::default(),
        signed: Signed::default(),
        allow_rewrite: false,
        host_root: None,
        host_name: HostName::Any,
        compose: ComposeOptions::default(),
        write_back: None,
    }
}

/// Repositories that are followed.
struct Followed {
    readings: mpsc::Receiver<Reading>,
    nudges: Vec<Arc<Notify>>,
    task: tokio::task::JoinHandle<()>,
}

impl Followed {
    fn begin(sources: impl IntoIterator<Item = GitSource>, state: &Path) -> Self {
        Self::beside(Arc::default(), sources, state)
    }

    /// With a board that shows what runs.
    fn beside(statuses: Arc<StatusStore>, sources: impl IntoIterator<Item = GitSource>, state: &Path) -> Self {
        let sources: Vec<_> = sources.into_iter().map(|source| (source, Arc::new(Notify::new()))).collect();
        let nudges = sources.iter().map(|(_, nudge)| Arc::clone(nudge)).collect();
        let (send, readings) = mpsc::channel(1);
        let task = tokio::spawn(watch(sources, state.to_owned(), statuses, send));
        Self { readings, nudges, task }
    }

    async fn next(&mut self) -> Reading {
        tokio::time::timeout(LONG, self.readings.recv()).await.expect("a reading").unwrap()
    }

    /// The next reading that has a problem, which is returned with it.
    async fn problem(&mut self) -> (Reading, String) {
        loop {
            let reading = self.next().await;
            if !reading.refused.is_empty() {
                let problem = reading.refused.join("\n");
                return (reading, problem);
            }
        }
    }

    async fn nothing(&mut self) {
        let came = tokio::time::timeout(MOMENT, self.readings.recv()).await;
        assert!(came.is_err(), "{came:?}");
    }

    fn nudge(&self) {
        self.nudges[0].notify_one();
    }

    /// Ends it, and waits until its copies are free again.
    async fn end(self) {
        drop(self.readings);
        self.task.await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await; // Its threads let go of the copies a moment after the task.
    }
}

fn text(reading: &Reading, file: &str) -> String {
    let found = reading.files.iter().find(|(name, _)| name == file);
    let content = found.unwrap_or_else(|| panic!("{file}: {reading:?}")).1.clone();
    String::from_utf8(content.unwrap().to_vec()).unwrap()
}

fn image(reading: &Reading, name: &str) -> String {
    let text = text(reading, &format!("repo/{name}.yaml"));
    text.lines().find_map(|line| line.trim().strip_prefix("image: ").map(str::to_owned)).unwrap()
}

#[tokio::test]
async fn a_commit_is_in_force_at_once_and_the_work_tree_never_is() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let mut followed = Followed::begin([repo.source()], state.path());
    let first = followed.next().await;
    assert_eq!(image(&first, "web"), "web:1");
    repo.write("web.yaml", document("web", "web:2"));
    followed.nothing().await;
    let id = repo.commit("two");
    let second = followed.next().await;
    assert_eq!(image(&second, "web"), "web:2");
    let commit = &second.origins["repo"].commit;
    assert_eq!(
        (commit.id.as_str(), commit.author.as_str(), commit.subject.as_str()),
        (&*id, "Ann <ann@shop.example>", "two")
    );
    // Packed refs are refs.
    repo.git(&["pack-refs", "--all"]);
    repo.write("web.yaml", document("web", "web:3"));
    repo.commit("three");
    assert_eq!(image(&followed.next().await, "web"), "web:3");
}

#[tokio::test]
async fn another_checkout_is_no_wish_and_other_branches_are_nobodys_business() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let mut followed = Followed::begin([repo.source()], state.path());
    followed.next().await;
    repo.git(&["checkout", "--quiet", "-b", "feature"]);
    repo.write("web.yaml", document("web", "web:feature"));
    repo.commit("feature");
    followed.nothing().await;
    followed.end().await;
    // Nor after a restart.
    let mut followed = Followed::begin([repo.source()], state.path());
    assert_eq!(image(&followed.next().await, "web"), "web:1");
    followed.nothing().await;
}

#[tokio::test]
async fn the_commit_that_changed_a_service_is_the_one_that_asked_for_it() {
    use composed_core::model::ServiceName;
    use composed_source::catalog::Catalog;
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let first = repo.git(&["rev-parse", "HEAD"]);
    let mut followed = Followed::begin([repo.source()], state.path());
    followed.next().await;
    repo.write("sub/api.yaml", document("api", "api:1"));
    let second = repo.commit("an api");
    followed.next().await;
    followed.end().await;
    repo.write("web.yaml", format!("# a word\n{}", document("web", "web:1")));
    repo.commit("a word");
    let mut followed = Followed::begin([repo.source()], state.path());
    let mut reading = followed.next().await;
    while reading.origins["repo"].commit.subject != "a word" {
        reading = followed.next().await;
    }
    let catalog = Catalog::new(&reading, &Catalog::empty(false));
    let of = |name: &str| catalog.service(&ServiceName::new("shop", name)).unwrap();
    assert_eq!(of("web").commit.as_ref().unwrap().id, first);
    assert_eq!(of("api").commit.as_ref().unwrap().id, second);
    assert_eq!(of("web").source, format!("repo@{} web.yaml:2", &first[..7]));
    assert_eq!(of("api").source, format!("repo@{} sub/api.yaml:1", &second[..7]));
}

#[tokio::test]
async fn two_sources_that_claim_one_service_are_both_refused() {
    use composed_source::catalog::Catalog;
    if !git_is_here() {
        return;
    }
    let (one, two, state) = (Repo::with_web(), Repo::with_web(), tempfile::tempdir().unwrap());
    two.write("api.yaml", document("api", "api:1"));
    two.commit("an api");
    let second = GitSource { name: "other".to_owned(), ..two.source() };
    let mut followed = Followed::begin([one.source(), second], state.path());
    let mut reading = followed.next().await;
    while reading.origins.len() < 2 {
        assert!(reading.unread.is_some(), "nothing is removed before all is known: {reading:?}");
        reading = followed.next().await;
    }
    assert_eq!(reading.unread, None);
    let catalog = Catalog::new(&reading, &Catalog::empty(false));
    let problems = catalog.problems.join("\n");
    assert!(problems.contains("other/web.yaml:1") && problems.contains("repo/web.yaml:1"), "{problems}");
    let shop = |name: &str| catalog.service(&composed_core::model::ServiceName::new("shop", name)).is_some();
    assert!(!shop("web") && shop("api"));
}

#[tokio::test]
async fn another_user_s_repository_is_read_as_data() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let theirs = Command::new("chown").args(["-R", "65534:65534"]).arg(repo.path()).output();
    if !theirs.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: only root gives files away");
        return;
    }
    let mut followed = Followed::begin([repo.source()], state.path());
    assert_eq!(image(&followed.next().await, "web"), "web:1");
}

fn state_of(state: &Path) -> PathBuf {
    std::fs::read_dir(state).unwrap().next().unwrap().unwrap().path()
}
