//! New images, on the simulated engine, its time stopped.

mod registry;
mod removal;
mod tags;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use composed::cli::progress::{Convergence, convergence};
use composed::state::StateDir;
use composed_core::model::ServiceName;
use composed_core::reference::Reference;
use composed_platform::clock::Clock;
use composed_registry::{Platforms, RegistryClient, RegistryError, RegistryImages, updates};
use composed_simulator::{Behaviour, Fault, Sim, World};
use composed_source::catalog::Catalog;
use composed_source::files::Reading;
use composed_status::store::StatusStore;
use crd_schema::status::{RevisionOutcome, ServiceStatus};
use crd_schema::{ImageDigest, ImageId, ImageRef, Revision, ServiceSpec};
use futures_util::future::{BoxFuture, FutureExt as _};

use crate::undo::{Running, engine, web};

const DIGEST: &str = "  update: digest\n";

fn tag(sim: &Sim, id: &str, behaviour: Behaviour) {
    sim.with(|world, _| world.tag(&ImageRef::new("web:1"), &ImageId::new(id), behaviour));
}

fn broken() -> Behaviour {
    Behaviour { exits_after: Some(Duration::from_millis(200)), ..Behaviour::default() }
}

/// The images of all containers, by revision.
fn images(world: &World) -> BTreeMap<Revision, BTreeSet<ImageId>> {
    let mut images: BTreeMap<Revision, BTreeSet<ImageId>> = BTreeMap::new();
    for container in world.containers.values() {
        images.entry(container.replica.revision.clone()).or_default().insert(container.replica.image.clone());
    }
    images
}

pub(crate) fn creations(sim: &Sim) -> usize {
    sim.with(|world, _| world.log.iter().filter(|line| line.starts_with("create shop-web")).count())
}

fn runs(status: &ServiceStatus, id: &str) -> bool {
    let update = status.update.as_ref().and_then(|update| update.image_id.as_ref());
    update.is_some_and(|is| *is == id) && convergence(status) == Convergence::Converged
}

/// Lets everything that may happen happen.
async fn for_a_while() {
    tokio::time::sleep(Duration::from_mins(5)).await; // Time stands still but for this.
}

/// A registry that says what it is told to, and counts.
#[derive(Default)]
pub(crate) struct Scripted {
    digest: Mutex<Option<Result<ImageDigest, RegistryError>>>,
    pub(crate) tags: Mutex<Vec<String>>,
    platforms: Mutex<Platforms>,
    asked: Mutex<Vec<String>>,
}

impl Scripted {
    fn says(&self, answer: Result<&str, RegistryError>) {
        *self.digest.lock().unwrap() = Some(answer.map(ImageDigest::new));
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl RegistryClient for Scripted {
    fn digest<'a>(&'a self, image: &'a Reference) -> BoxFuture<'a, Result<ImageDigest, RegistryError>> {
        self.asked.lock().unwrap().push(format!("digest of {image}"));
        let answer = self.digest.lock().unwrap().clone();
        std::future::ready(answer.unwrap_or_else(|| Ok(ImageDigest::new(format!("sha256:{image}"))))).boxed()
    }

    fn platforms<'a>(
        &'a self,
        _: &'a Reference,
        digest: &'a ImageDigest,
    ) -> BoxFuture<'a, Result<Platforms, RegistryError>> {
        self.asked.lock().unwrap().push(format!("platforms of {digest}"));
        std::future::ready(Ok(self.platforms.lock().unwrap().clone())).boxed()
    }

    fn tags<'a>(&'a self, image: &'a Reference) -> BoxFuture<'a, Result<Vec<String>, RegistryError>> {
        self.asked.lock().unwrap().push(format!("tags of {}", image.familiar()));
        std::future::ready(Ok(self.tags.lock().unwrap().clone())).boxed()
    }
}

/// A controller that asks a scripted registry.
pub(crate) fn asking(sim: &Arc<Sim>, clock: Clock, state: StateDir) -> (Running, Arc<Scripted>) {
    let scripted = Arc::new(Scripted::default());
    let file = state.room("images.json");
    let images = |statuses: &Arc<StatusStore>| {
        let images =
            RegistryImages::new(Arc::clone(&scripted) as Arc<dyn RegistryClient>, Arc::clone(statuses), clock, file);
        tokio::spawn(Arc::clone(&images).run());
        images
    };
    (Running::with(sim, clock, state, images), scripted)
}

fn pulls(sim: &Sim) -> usize {
    sim.with(|world, _| world.log.iter().filter(|line| line.starts_with("pull ")).count())
}

#[tokio::test(start_paused = true)]
async fn containers_that_compose_made_go_on_until_their_tag_is_moved() {
    let (sim, clock) = engine();
    let spec = ServiceSpec { image: ImageRef::new("web:1"), ..ServiceSpec::default() };
    tag(&sim, "sha256:a", Behaviour::default());
    sim.with(|world, now| (1..=2).for_each(|number| world.add_compose(&web(), number, &spec, now)));
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", DIGEST).await;
    running.until(|status| runs(status, "sha256:a")).await;
    for_a_while().await;
    assert_eq!(creations(&sim), 0, "they are adopted as they are");
    tag(&sim, "sha256:b", Behaviour::default());
    running.until(|status| runs(status, "sha256:b")).await;
    assert_eq!(creations(&sim), 2);
    running.end().await;
}

#[test]
fn a_projects_rules_are_its_services_defaults() {
    let project = "apiVersion: composed.dev/v1\nkind: Project\nmetadata: {name: shop}\nspec: {update: {policy: digest, interval: 1h}}\n";
    let service = |name: &str, image: &str, update: &str| {
        format!(
            "---\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\nspec: {{image: {image}{update}}}\n"
        )
    };
    let pinned = format!("web@sha256:{}", "0".repeat(64));
    let text = [
        project.to_owned(),
        service("inherits", "web:1", ""),
        service("quicker", "web:1", ", update: {interval: 1m}"),
        service("versions", "web:1.0.0", ", update: {semver: ^1}"),
        service("not", "web:1", ", update: none"),
        service("pinned", &pinned, ""),
    ];
    let files = vec![("all.yaml".to_owned(), Ok(text.concat().into_bytes().into()))];
    let catalog = Catalog::new(&Reading { files, ..Reading::default() }, &Catalog::empty(false));
    assert_eq!(catalog.problems, Vec::<String>::new());
    let asks = |name: &str| {
        let service = catalog.service(&ServiceName::new("shop", name)).unwrap();
        let questions = [updates::of_tag(service), updates::of_versions(service)];
        (questions.iter().flatten().count(), updates::how(service).interval.as_secs())
    };
    assert_eq!(asks("inherits"), (1, 3600));
    assert_eq!(asks("quicker"), (1, 60));
    assert_eq!(asks("versions"), (2, 3600));
    assert_eq!(asks("not").0, 0);
    assert_eq!(asks("pinned").0, 0);
}
