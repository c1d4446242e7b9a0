//! Work that the engine does in its own time: pulls, stops and pre-stop hooks. Begun here as tasks, observed as data,
//! their ends announced through the watch. What is lost with the process is begun again by the next plan.

mod pull;

use crd_schema::{ContainerId, ImageId, ImageRef};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bollard::query_parameters::StopContainerOptions;
use composed_core::model::{HookEnd, HookFailure, ImageState, Key, PullProgress, RunningOperation, ServiceName};
use composed_platform::clock::Clock;
use composed_registry::credentials::Credentials;
use crd_schema::Hook;
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::broadcast, time::Instant};

use self::pull::{FailedPull, fetch};
use super::{connect::Api, errors::chain, hooks};

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
    pulls: HashMap<ImageRef, ImageState>,
    progress: HashMap<ImageRef, PullProgress>,
    failures: HashMap<ImageRef, u32>,
    /// The ids of images that pulls brought, by the name that was pulled.
    brought: BTreeMap<ImageRef, BTreeSet<ImageId>>,
    /// With when it ends at the latest.
    busy: HashMap<ContainerId, (RunningOperation, Option<Timestamp>)>,
    hooks_done: HashSet<ContainerId>,
    pre_stop_failures: HashMap<ContainerId, HookFailure>,
    /// Told to stop by us, and by others.
    told: HashSet<ContainerId>,
    by_hand: HashMap<ContainerId, Instant>,
    post_start: HashMap<ContainerId, HookEnd>,
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
    pub(super) fn known(&self) -> HashSet<ContainerId> {
        let jobs = self.lock();
        let Jobs { hooks_done, post_start, told, by_hand, .. } = &*jobs;
        told.iter().chain(by_hand.keys()).chain(post_start.keys()).chain(hooks_done).cloned().collect()
    }

    /// Forgets containers that are gone.
    pub(super) fn retain(&self, there: impl Fn(&ContainerId) -> bool) {
        let mut jobs = self.lock();
        let Jobs { busy, hooks_done, pre_stop_failures, post_start, told, by_hand, .. } = &mut *jobs;
        told.retain(|id| there(id) || busy.contains_key(id));
        by_hand.retain(|id, _| there(id));
        post_start.retain(|id, _| there(id) || busy.contains_key(id));
        hooks_done.retain(|id| there(id) || busy.contains_key(id));
        pre_stop_failures.retain(|id, _| there(id) || busy.contains_key(id));
    }

    /// Begins to fetch an image, unless that is under way.
    pub(super) fn pull(self: &Arc<Self>, api: &Api, image: &ImageRef, platform: Option<&str>) {
        {
            let mut jobs = self.lock();
            if matches!(jobs.pulls.get(image), Some(ImageState::Pulling(_))) {
                return;
            }
            jobs.pulls.insert(image.clone(), ImageState::Pulling(self.clock.now()));
        }
        let (background, api) = (Arc::clone(self), api.clone());
        let (image, platform) = (image.clone(), platform.unwrap_or_default().to_owned());
        drop(tokio::spawn(async move {
            let note = |progress| {
                background.lock().progress.insert(image.clone(), progress);
            };
            let result = fetch(&api, &background.credentials, &image, platform, note).await;
            background.pulled(&image, result);
        }));
    }

    /// Begins to stop a container, unless that is under way. `grace` is its own stop timeout: -1 waits for ever.
    pub(super) fn stop(self: &Arc<Self>, api: &Api, id: &ContainerId, service: ServiceName, grace: Option<i64>) {
        let longest =
            u64::try_from(grace.unwrap_or(DEFAULT_GRACE)).ok().map(|secs| Duration::from_secs(secs) + STOP_MARGIN);
        if !self.begin(id, RunningOperation::Stop, longest) {
            return;
        }
        self.lock().told.insert(id.clone());
        let (background, api, id) = (Arc::clone(self), api.clone(), id.clone());
        drop(tokio::spawn(async move {
            // No `t`: the container's own timeout rules, and its own signal.
            let stop = api.client.stop_container(id.as_str(), None::<StopContainerOptions>);
            let stopped = match longest {
                Some(longest) => tokio::time::timeout(longest, stop).await,
                None => Ok(stop.await),
            };
            let failure = match stopped {
                Ok(Ok(()) | Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })) => None,
                Ok(Err(error)) => Some(chain(&error)),
                Err(_) => Some("the engine did not end it in time".to_owned()),
            };
            if let Some(failure) = failure {
                tracing::warn!(%service, container = id.as_str(), "stop: {failure}");
                tokio::time::sleep(AFTER_A_FAILED_STOP).await;
            }
            background.end(&id, service);
        }));
    }

    /// Begins to run hooks in a container, one after the other, unless they run or have run. A hook that fails counts
    /// as run: a container that cannot say goodbye still has to go.
    pub(super) fn pre_stop(self: &Arc<Self>, api: &Api, id: &ContainerId, service: ServiceName, hooks: Vec<Hook>) {
        if self.lock().hooks_done.contains(id) || !self.begin(id, RunningOperation::PreStop, limit(&hooks)) {
            return;
        }
        let (background, api, id) = (Arc::clone(self), api.clone(), id.clone());
        drop(tokio::spawn(async move {
            for hook in &hooks {
                if let Err(failure) = hooks::run(&api, &id, hook).await {
                    background.lock().pre_stop_failures.entry(id.clone()).or_insert(failure);
                }
            }
            background.lock().hooks_done.insert(id.clone());
            background.end(&id, service);
        }));
    }

    /// Begins to run hooks in a container, one after the other, up to the first that fails, unless they run or have run.
    pub(super) fn post_start(self: &Arc<Self>, api: &Api, id: &ContainerId, service: ServiceName, hooks: Vec<Hook>) {
        if self.lock().post_start.contains_key(id) || !self.begin(id, RunningOperation::PostStart, limit(&hooks)) {
            return;
        }
        let (background, api, id) = (Arc::clone(self), api.clone(), id.clone());
        drop(tokio::spawn(async move {
            let mut end = HookEnd::Done;
            for hook in &hooks {
                if let Err(failure) = hooks::run(&api, &id, hook).await {
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
    pub(super) fn heard(&self, id: &ContainerId, stops: bool) {
        let mut jobs = self.lock();
        if !stops {
            jobs.by_hand.remove(id);
        } else if !jobs.told.contains(id) {
            jobs.by_hand.insert(id.clone(), Instant::now());
        }
    }

    fn begin(&self, id: &ContainerId, what: RunningOperation, longest: Option<Duration>) -> bool {
        let mut jobs = self.lock();
        if jobs.busy.contains_key(id) {
            return false;
        }
        let until = longest.map(|longest| self.clock.now() + longest);
        jobs.busy.insert(id.clone(), (what, until));
        true
    }

    fn end(&self, id: &ContainerId, service: ServiceName) {
        self.lock().busy.remove(id);
        self.announce(Some(Key::Service(service)));
    }

    /// An image that pulls brought is no business of ours any more.
    pub(super) fn let_go(&self, id: &ImageId) {
        for brought in self.lock().brought.values_mut() {
            brought.remove(id);
        }
    }

    fn pulled(&self, image: &ImageRef, result: Result<Option<ImageId>, FailedPull>) {
        {
            let mut jobs = self.lock();
            jobs.progress.remove(image);
            match result {
                Ok(new) => {
                    jobs.pulls.remove(image);
                    jobs.failures.remove(image);
                    jobs.brought.entry(image.clone()).or_default().extend(new);
                }
                Err(FailedPull { message, refused }) => {
                    let count = jobs.failures.entry(image.clone()).or_default();
                    *count = count.saturating_add(1);
                    let failed = ImageState::PullFailed { at: self.clock.now(), message, count: *count, refused };
                    jobs.pulls.insert(image.clone(), failed);
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
        self.jobs.lock()
    }
}

/// The most that some hooks may take, one after the other.
fn limit(hooks: &[Hook]) -> Option<Duration> {
    u32::try_from(hooks.len()).ok().and_then(|count| hooks::LIMIT.checked_mul(count))
}

impl Jobs {
    /// Whether others have told it to stop. One that still runs long after has not listened, or runs again.
    pub(super) fn by_hand(&self, id: &ContainerId, runs: bool) -> bool {
        self.by_hand.get(id).is_some_and(|told| !runs || told.elapsed() < LISTENS)
    }

    /// The work under way on a container.
    pub(super) fn busy_with(&self, id: &ContainerId) -> Option<RunningOperation> {
        self.busy.get(id).map(|(what, _)| *what)
    }

    /// When that ends at the latest.
    pub(super) fn busy_until(&self, id: &ContainerId) -> Option<Timestamp> {
        self.busy.get(id).and_then(|(_, until)| *until)
    }

    /// The first pre-stop hook of a container that did not end well.
    pub(super) fn pre_stop_failure(&self, id: &ContainerId) -> Option<HookFailure> {
        self.pre_stop_failures.get(id).cloned()
    }

    /// How the post-start hooks of a container ended, if they did.
    pub(super) fn post_start(&self, id: &ContainerId) -> Option<HookEnd> {
        self.post_start.get(id).cloned()
    }

    /// Whether its pre-stop hooks have run.
    pub(super) fn hooks_done(&self, id: &ContainerId) -> bool {
        self.hooks_done.contains(id)
    }

    /// How far the pull of an image has come.
    pub(super) fn progress(&self, name: &ImageRef) -> Option<PullProgress> {
        self.progress.get(name).copied()
    }

    /// What pulls brought under a name.
    pub(super) fn brought(&self, name: &ImageRef) -> BTreeSet<ImageId> {
        self.brought.get(name).cloned().unwrap_or_default()
    }

    /// Why the last pull of an image failed.
    pub(super) fn failure(&self, name: &ImageRef) -> Option<String> {
        match self.pulls.get(name) {
            Some(ImageState::PullFailed { message, .. }) => Some(message.clone()),
            _ => None,
        }
    }

    /// What is known of an image, given the id it has on this host, if it is there. A pull under way hides an older
    /// image, so that nothing is created from it; an image that came another way hides an old failure.
    pub(super) fn image(&self, name: &ImageRef, id: Option<ImageId>) -> ImageState {
        match (self.pulls.get(name), id) {
            (Some(ImageState::Pulling(since)), _) => ImageState::Pulling(*since),
            (_, Some(id)) => ImageState::Present(id),
            (Some(failed), None) => failed.clone(),
            (None, None) => ImageState::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_image_is_what_its_last_pull_and_this_host_say() {
        let background = Background::new(Clock::system());
        let mut ends = background.ends();
        let (a, new) = (ImageRef::new("a:1"), ImageId::new("new"));
        let state = |id: Option<&str>| background.jobs().image(&a, id.map(ImageId::new));
        assert_eq!(state(None), ImageState::Absent);

        background.lock().pulls.insert(a.clone(), ImageState::Pulling(Timestamp::UNIX_EPOCH));
        assert_eq!(state(Some("id")), ImageState::Pulling(Timestamp::UNIX_EPOCH));

        for message in ["timeout", "denied"].map(str::to_owned) {
            let refused = message == "denied";
            background.pulled(&a, Err(FailedPull { message, refused }));
        }
        assert!(
            matches!(state(None), ImageState::PullFailed { count: 2, message, refused: true, .. } if message == "denied")
        );
        assert_eq!(state(Some("id")), ImageState::Present(ImageId::new("id")));

        background.pulled(&a, Ok(Some(new.clone())));
        assert_eq!(background.jobs().brought(&a), [new.clone()].into());
        background.let_go(&new);
        assert!(background.jobs().brought(&a).is_empty());
        assert_eq!(state(None), ImageState::Absent);
        assert_eq!(ends.try_recv().ok(), Some(None), "the end of a pull is announced");
    }

    #[tokio::test]
    async fn work_on_a_container_is_begun_once() {
        let background = Background::new(Clock::system());
        let c = ContainerId::new("c");
        assert!(background.begin(&c, RunningOperation::Stop, Some(LISTENS)));
        assert!(!background.begin(&c, RunningOperation::PreStop, None));
        assert!(background.jobs().busy_until(&c).is_some());
        assert_eq!(background.jobs().busy_with(&c), Some(RunningOperation::Stop));
        let mut ends = background.ends();
        background.end(&c, ServiceName::new("p", "s"));
        assert_eq!(background.jobs().busy_with(&c), None);
        assert_eq!(ends.try_recv().ok(), Some(Some(Key::Service(ServiceName::new("p", "s")))));
    }
}
