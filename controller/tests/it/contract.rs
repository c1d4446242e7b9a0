//! What every engine adapter promises, as one list of cases that run on Docker and on the simulated engine alike. The
//! cases see an engine through its trait only; what happens behind its back goes through a `Stage`.

mod around;
mod containers;
mod docker;
mod docker_only;
mod sim;

use std::time::Duration;

use composed::engine::{Context, Engine, EngineError, Scope};
use composed::model::{Key, Replica, ServiceName, Snapshot};
use composed::plan::action::{Blueprint, Target, Verb};
use crd_schema::ServiceSpec;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};

/// The longest that a case waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a replica shall be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Serves at once, ends at once when it is told to. Has a healthcheck each 200 ms.
    Serves,
    /// Serves, but takes a second or two from the stop signal to its end.
    Lingers,
    /// Ends by itself with code 1, soon after its start.
    Crashes,
    /// Cannot be started at all.
    Unstartable,
}

/// One engine, and a way round the back of it. Each case has a stage and a project of its own.
pub trait Stage {
    /// The engine.
    fn engine(&self) -> &dyn Engine;
    /// The project, of this case alone.
    fn project(&self) -> &str;
    /// A specification whose image is there.
    fn spec(&self, kind: Kind) -> ServiceSpec;
    /// An image that no registry has.
    fn no_image(&self) -> String;
    /// Ends a container's process, with code 137.
    fn kill<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()>;
    /// Removes a container by force.
    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()>;
    /// Makes a running container of somebody else's; its id.
    fn add_foreign<'a>(&'a self, name: &'a str) -> BoxFuture<'a, String>;
    /// The name and state (`running`, ...) of any container.
    fn peek<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<(String, String)>>;
    /// Makes a network of somebody else's.
    fn add_foreign_network<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()>;
    /// A claim by another controller of the same instance; true when it got it.
    fn rival_claims(&self) -> BoxFuture<'_, bool>;
    /// It gives back what it has.
    fn rival_releases(&self) -> BoxFuture<'_, ()>;
}

/// A case: a promise, and how to see it kept.
pub struct Case {
    /// The promise.
    pub name: &'static str,
    /// Panics when it is broken.
    pub run: for<'a> fn(&'a dyn Stage) -> BoxFuture<'a, ()>,
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut cases = containers::cases();
    cases.extend(around::cases());
    cases
}

/// Lists async functions as cases, by their names.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        vec![$($crate::contract::Case {
            name: stringify!($name),
            run: |stage| futures_util::FutureExt::boxed_local_or_send($name(stage)),
        }),*]
    };
}
