//! Work that the engine does in its own time: pulls, stops and pre-stop hooks. Begun here as tasks, observed as data,
//! their ends announced through the watch. What is lost with the process is begun again by the next plan.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bollard::{
    auth::DockerCredentials,
    models::CreateImageInfo,
    query_parameters::{CreateImageOptions, StopContainerOptions},
};
use crd_schema::Hook;
use futures_util::StreamExt as _;
use tokio::{sync::broadcast, time::Instant};

use super::{connect::Api, errors::chain, hooks};
use crate::clock::Clock;
use crate::images::credentials::{Credentials, Login};
use crate::images::reference::Reference;
use crate::model::{HookEnd, ImageState, Key, Pending, PullProgress, ServiceName};

/// A pull that says nothing for so long has failed; the engine itself sets no limit.
const SILENT_PULL: Duration = Duration::from_mins(10);
/// What a stop may take beyond the container's own grace period: the engine kills, then waits for the end.
const STOP_MARGIN: Duration = Duration::from_secs(30);
/// The grace period of a container that names none. Source: moby `daemon/config`, `DefaultStopTimeout`.
const DEFAULT_GRACE: i64 = 10;
/// One that was told to stop by others and still runs after so long goes on.
const LISTENS: Duration = Duration::from_secs(30);
/// A failed stop stays busy for so long, so that a broken engine is not asked again and again without a pause.
const AFTER_A_FAILED_STOP: Duration = Duration::from_secs(5);

/// The tasks in flight, and what became of those that ended.
#[derive(Debug)]
pub(super) struct Background {
    jobs: Mutex<Jobs>,
    ends: broadcast::Sender<Option<Key>>,
    clock: Clock,
    credentials: Credentials,
}

/// One consistent look at all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs {
    pulls: HashMap<String, ImageState>,
    progress: HashMap<String, PullProgress>,
    failures: HashMap<String, u32>,
    /// The ids of images that pulls brought, by the name that was pulled.
    brought: BTreeMap<String, BTreeSet<String>>,
    busy: HashMap<String, Pending>,
    hooks_done: HashSet<String>,
    /// Told to stop by us, and by others.
    told: HashSet<String>,
    by_hand: HashMap<String, Instant>,
    post_start: HashMap<String, HookEnd>,
}

impl Background {
    /// Nothing in flight.
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        let (ends, _) = broadcast::channel(256);
        Arc::new(Self { jobs: Mutex::default(), ends, clock, credentials: Credentials::from_environment() })
    }

    /// The ends of tasks, as keys to look at again.
    pub(super) fn ends(&self) -> broadcast::Receiver<Option<Key>> {
        self.ends.subscribe()
    }

    /// What is in flight now.
    pub(super) fn jobs(&self) -> Jobs {
        self.lock().clone()
    }

    /// The containers of which something is kept.
    pub(super) fn known(&self) -> HashSet<String> {
        let jobs = self.lock();
        let Jobs { hooks_done, post_start, told, by_hand, .. } = &*jobs;
        told.iter().chain(by_hand.keys()).chain(post_start.keys()).chain(hooks_done).cloned().collect()
    }

    /// Forgets containers that are gone.
    pub(super) fn retain(&self, there: impl Fn(&str) -> bool) {
        let mut jobs = self.lock();
        let Jobs { busy, hooks_done, post_start, told, by_hand, .. } = &mut *jobs;
        told.retain(|id| there(id) || busy.contains_key(id));
        by_hand.retain(|id, _| there(id));
        post_start.retain(|id, _| there(id) || busy.contains_key(id));
        hooks_done.retain(|id| there(id) || busy.contains_key(id));
    }

    /// Begins to fetch an image, unless that is under way.
    pub(super) fn pull(self: &Arc<Self>, api: &Api, image: &str, platform: Option<&str>) {
        {
            let mut jobs = self.lock();
            if matches!(jobs.pulls.get(image), Some(ImageState::Pulling(_))) {
                return;
            }
            jobs.pulls.insert(image.to_owned(), ImageState::Pulling(self.clock.now()));
        }
        let (background, api) = (Arc::clone(self), api.clone());
        let (image, platform) = (image.to_owned(), platform.unwrap_or_default().to_owned());
        drop(tokio::spawn(async move {
            let note = |progress| {
                background.lock().progress.insert(image.clone(), progress);
            };
            let result = fetch(&api, &background.credentials, &image, platform, note).await;
            background.pulled(&image, result);
        }));
    }

    /// Begins to stop a container, unless that is under way. `grace` is its own stop timeout: -1 waits for ever.
    pub(super) fn stop(self: &Arc<Self>, api: &Api, id: &str, service: ServiceName, grace: Option<i64>) {
        if !self.begin(id, Pending::Stop) {
            return;
        }
        self.lock().told.insert(id.to_owned());
        let (background, api, id) = (Arc::clone(self), api.clone(), id.to_owned());
        drop(tokio::spawn(async move {
            // No `t`: the container's own timeout rules, and its own signal.
            let stop = api.client.stop_container(&id, None::<StopContainerOptions>);
            let stopped = match u64::try_from(grace.unwrap_or(DEFAULT_GRACE)) {
                Ok(secs) => tokio::time::timeout(Duration::from_secs(secs) + STOP_MARGIN, stop).await,
                Err(_) => Ok(stop.await),
            };
            let failure = match stopped {
                Ok(Ok(()) | Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })) => None,
                Ok(Err(error)) => Some(chain(&error)),
                Err(_) => Some("the engine did not end it in time".to_owned()),
            };
            if let Some(failure) = failure {
                tracing::warn!(%service, container = id, "stop: {failure}");
                tokio::time::sleep(AFTER_A_FAILED_STOP).await;
            }
            background.end(&id, service);
        }));
    }

    /// Begins to run hooks in a container, one after the other, unless they run or have run. A hook that fails counts
    /// as run: a container that cannot say goodbye still has to go.
    pub(super) fn pre_stop(self: &Arc<Self>, api: &Api, id: &str, service: ServiceName, hooks: Vec<Hook>) {
        if self.lock().hooks_done.contains(id) || !self.begin(id, Pending::PreStop) {
            return;
        }
        let (background, api, id) = (Arc::clone(self), api.clone(), id.to_owned());
        drop(tokio::spawn(async move {
            for hook in &hooks {
                if let Err(failure) = hooks::run(&api, &id, hook).await {
                    tracing::warn!(%service, container = id, "pre_stop: {failure}");
                }
            }
            background.lock().hooks_done.insert(id.clone());
            background.end(&id, service);
        }));
    }

    /// Begins to run hooks in a container, one after the other, up to the first that fails, unless they run or have run.
    pub(super) fn post_start(self: &Arc<Self>, api: &Api, id: &str, service: ServiceName, hooks: Vec<Hook>) {
        if self.lock().post_start.contains_key(id) || !self.begin(id, Pending::PostStart) {
            return;
        }
        let (background, api, id) = (Arc::clone(self), api.clone(), id.to_owned());
        drop(tokio::spawn(async move {
            let mut end = HookEnd::Done;
            for hook in &hooks {
                if let Err(failure) = hooks::run(&api, &id, hook).await {
                    tracing::warn!(%service, container = id, "post_start: {failure}");
                    end = HookEnd::Failed(failure);
                    break;
                }
            }
            background.lock().post_start.insert(id.clone(), end);
            background.end(&id, service);
        }));
    }

    /// Events were missed: whoever was told to stop may have been started again.
    pub(super) fn forget_hands(&self) {
        self.lock().by_hand.clear();
    }

    /// The engine says that a container was told to stop, or that it has started.
    pub(super) fn heard(&self, id: &str, stops: bool) {
        let mut jobs = self.lock();
        if !stops {
            jobs.by_hand.remove(id);
        } else if !jobs.told.contains(id) {
            jobs.by_hand.insert(id.to_owned(), Instant::now());
        }
    }

    fn begin(&self, id: &str, what: Pending) -> bool {
        let mut jobs = self.lock();
        if jobs.busy.contains_key(id) {
            return false;
        }
        jobs.busy.insert(id.to_owned(), what);
        true
    }

    fn end(&self, id: &str, service: ServiceName) {
        self.lock().busy.remove(id);
        self.announce(Some(Key::Service(service)));
    }

    /// An image that pulls brought is no business of ours any more.
    pub(super) fn let_go(&self, id: &str) {
        for brought in self.lock().brought.values_mut() {
            brought.remove(id);
        }
    }

    fn pulled(&self, image: &str, result: Result<Option<String>, String>) {
        {
            let mut jobs = self.lock();
            jobs.progress.remove(image);
            match result {
                Ok(new) => {
                    jobs.pulls.remove(image);
                    jobs.failures.remove(image);
                    jobs.brought.entry(image.to_owned()).or_default().extend(new);
                }
                Err(message) => {
                    let count = jobs.failures.entry(image.to_owned()).or_default();
                    *count = count.saturating_add(1);
                    let failed = ImageState::PullFailed { at: self.clock.now(), message, count: *count };
                    jobs.pulls.insert(image.to_owned(), failed);
                }
            }
        }
        // Any service may wait for this image: only the plans know.
        self.announce(None);
    }

    fn announce(&self, key: Option<Key>) {
        // Nobody listening is fine: who looks later sees the outcome itself.
        drop(self.ends.send(key));
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Jobs {
    /// Whether others have told it to stop. One that still runs long after has not listened, or runs again.
    pub(super) fn by_hand(&self, id: &str, runs: bool) -> bool {
        self.by_hand.get(id).is_some_and(|told| !runs || told.elapsed() < LISTENS)
    }

    /// The work under way on a container.
    pub(super) fn busy_with(&self, id: &str) -> Option<Pending> {
        self.busy.get(id).copied()
    }

    /// How the post-start hooks of a container ended, if they did.
    pub(super) fn post_start(&self, id: &str) -> Option<HookEnd> {
        self.post_start.get(id).cloned()
    }

    /// Whether its pre-stop hooks have run.
    pub(super) fn hooks_done(&self, id: &str) -> bool {
        self.hooks_done.contains(id)
    }

    /// How far the pull of an image has come.
    pub(super) fn progress(&self, name: &str) -> Option<PullProgress> {
        self.progress.get(name).copied()
    }

    /// What pulls brought under a name.
    pub(super) fn brought(&self, name: &str) -> BTreeSet<String> {
        self.brought.get(name).cloned().unwrap_or_default()
    }

    /// Why the last pull of an image failed.
    pub(super) fn failure(&self, name: &str) -> Option<String> {
        match self.pulls.get(name) {
            Some(ImageState::PullFailed { message, .. }) => Some(message.clone()),
            _ => None,
        }
    }

    /// What is known of an image, given the id it has on this host, if it is there. A pull under way hides an older
    /// image, so that nothing is created from it; an image that came another way hides an old failure.
    pub(super) fn image(&self, name: &str, id: Option<String>) -> ImageState {
        match (self.pulls.get(name), id) {
            (Some(ImageState::Pulling(since)), _) => ImageState::Pulling(*since),
            (_, Some(id)) => ImageState::Present(id),
            (Some(failed), None) => failed.clone(),
            (None, None) => ImageState::Absent,
        }
    }
}

/// Fetches an image; its id, if it was not here before.
async fn fetch(
    api: &Api,
    credentials: &Credentials,
    image: &str,
    platform: String,
    note: impl Fn(PullProgress),
) -> Result<Option<String>, String> {
    let options = CreateImageOptions {
        from_image: Some(image.to_owned()),
        // Without a tag the engine would fetch all of them.
        tag: (!has_tag(image)).then(|| "latest".to_owned()),
        platform,
        ..CreateImageOptions::default()
    };
    let login = match Reference::parse(image) {
        Some(reference) => login(credentials, &reference).await,
        None => None,
    };
    let mut progress = Box::pin(api.client.create_image(Some(options), None, login));
    let mut layers = Layers::default();
    let mut new = false;
    loop {
        match tokio::time::timeout(SILENT_PULL, progress.next()).await {
            Err(_) => return Err(format!("no progress within {} s", SILENT_PULL.as_secs())),
            Ok(Some(Err(error))) => return Err(words(&error)),
            Ok(Some(Ok(line))) => {
                // The engine's last word; the other is "Image is up to date".
                new |= line.status.as_ref().is_some_and(|status| status.starts_with("Status: Downloaded newer image"));
                if let Some(progress) = layers.take_in(line) {
                    note(progress);
                }
            }
            Ok(None) => break,
        }
    }
    // An error may come in a form that bollard does not know, inside the answer with status 200.
    let name = super::connect::reference(image).map_err(|error| error.to_string())?;
    match api.answer(api.client.inspect_image(name)).await {
        Ok(Ok(image)) => Ok(image.id.filter(|_| new)),
        Ok(Err(error)) => Err(format!("the pull ended without the image: {}", words(&error))),
        Err(error) => Err(error.to_string()),
    }
}

/// Who we are to the registry of an image. Without an answer it may be open to all; the engine will say.
async fn login(credentials: &Credentials, image: &Reference) -> Option<DockerCredentials> {
    let found = credentials.find(image.key()).await.unwrap_or_else(|why| {
        tracing::warn!(%image, "{why}");
        None
    });
    let serveraddress = Some(image.key().to_owned());
    Some(match found? {
        Login::Password { user, password } => DockerCredentials {
            username: Some(user),
            password: Some(password),
            serveraddress,
            ..DockerCredentials::default()
        },
        Login::Token(token) => {
            DockerCredentials { identitytoken: Some(token), serveraddress, ..DockerCredentials::default() }
        }
    })
}

/// The layers of a pull, as its lines tell of them: bytes that are here, bytes in all, whether it is done.
#[derive(Debug, Default)]
struct Layers(BTreeMap<String, (u64, u64, bool)>);

impl Layers {
    fn take_in(&mut self, line: CreateImageInfo) -> Option<PullProgress> {
        let (id, status) = (line.id?, line.status?);
        // The tag has a line as well.
        if status.starts_with("Pulling from") {
            return None;
        }
        let (here, all, done) = self.0.entry(id).or_default();
        let size = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        match (status.as_str(), line.progress_detail) {
            ("Downloading", Some(detail)) => (*here, *all) = (size(detail.current), size(detail.total).max(*all)),
            ("Verifying Checksum" | "Download complete" | "Extracting", _) => *here = *all,
            ("Pull complete" | "Already exists", _) => (*here, *done) = (*all, true),
            _ => {}
        }
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Some(PullProgress {
            layers_done: count(self.0.values().filter(|(.., done)| *done).count()),
            layers: count(self.0.len()),
            bytes: self.0.values().map(|(here, ..)| here).sum(),
            total: self.0.values().map(|(_, all, _)| all).sum(),
        })
    }
}

fn has_tag(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    image.contains('@') || name.contains(':')
}

fn words(error: &bollard::errors::Error) -> String {
    use bollard::errors::Error;
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        other => chain(other),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_tag_is_after_the_last_slash() {
        assert!(has_tag("a:1") && has_tag("r:5000/a:1") && has_tag("a@sha256:00"));
        assert!(!has_tag("a") && !has_tag("r:5000/a"));
    }

    #[tokio::test]
    async fn an_image_is_what_its_last_pull_and_this_host_say() {
        let background = Background::new(Clock::system());
        let mut ends = background.ends();
        let state = |id: Option<&str>| background.jobs().image("a:1", id.map(str::to_owned));
        assert_eq!(state(None), ImageState::Absent);

        background.lock().pulls.insert("a:1".to_owned(), ImageState::Pulling(Timestamp::UNIX_EPOCH));
        assert_eq!(state(Some("id")), ImageState::Pulling(Timestamp::UNIX_EPOCH));

        background.pulled("a:1", Err("denied".to_owned()));
        background.pulled("a:1", Err("denied".to_owned()));
        assert!(matches!(state(None), ImageState::PullFailed { count: 2, message, .. } if message == "denied"));
        assert_eq!(state(Some("id")), ImageState::Present("id".to_owned()));

        background.pulled("a:1", Ok(Some("new".to_owned())));
        assert_eq!(background.jobs().brought("a:1"), ["new".to_owned()].into());
        background.let_go("new");
        assert!(background.jobs().brought("a:1").is_empty());
        assert_eq!(state(None), ImageState::Absent);
        assert_eq!(ends.try_recv().ok(), Some(None), "the end of a pull is announced");
    }

    #[test]
    fn lines_of_a_pull_come_to_layers_and_bytes() {
        let lines = [
            serde_json::json!({"id": "latest", "status": "Pulling from shop/web"}),
            serde_json::json!({"id": "a", "status": "Already exists"}),
            serde_json::json!({"id": "b", "status": "Pulling fs layer"}),
            serde_json::json!({"id": "b", "status": "Downloading", "progressDetail": {"current": 10, "total": 100}}),
            serde_json::json!({"id": "c", "status": "Downloading", "progressDetail": {"current": 5, "total": 50}}),
            serde_json::json!({"id": "c", "status": "Download complete"}),
            serde_json::json!({"id": "c", "status": "Pull complete"}),
            serde_json::json!({"status": "Digest: sha256:00"}),
        ];
        let mut layers = Layers::default();
        let all = lines.map(|line| layers.take_in(serde_json::from_value(line).expect("a line")));
        assert_eq!(all[0], None);
        assert_eq!(all[4], Some(PullProgress { layers_done: 1, layers: 3, bytes: 15, total: 150 }));
        assert_eq!(all[6], Some(PullProgress { layers_done: 2, layers: 3, bytes: 60, total: 150 }));
        assert_eq!(all[7], None);
    }

    #[tokio::test]
    async fn work_on_a_container_is_begun_once() {
        let background = Background::new(Clock::system());
        assert!(background.begin("c", Pending::Stop));
        assert!(!background.begin("c", Pending::PreStop));
        assert_eq!(background.jobs().busy_with("c"), Some(Pending::Stop));
        let mut ends = background.ends();
        background.end("c", ServiceName::new("p", "s"));
        assert_eq!(background.jobs().busy_with("c"), None);
        assert_eq!(ends.try_recv().ok(), Some(Some(Key::Service(ServiceName::new("p", "s")))));
    }
}
