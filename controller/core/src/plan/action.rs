//! What a plan is made of: actions, each one engine call or one record, with its cause; and what it waits for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crd_schema::status::{Reason, WaitReason};
use crd_schema::{
    ContainerId, Hook, ImageDigest, ImageId, ImageRef, NetworkId, NetworkName, Revision, ServiceSpec, VolumeName,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::model::{HookKind, HookRecord, HookState, Outcome, Replica, ServiceName, last_lines};

/// What is safe to do now, what is waited for, and when to look again if nothing else happens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Any subset of these, in any order, keeps the promises.
    pub actions: Vec<Action>,
    /// Why it is not finished, if there is nothing to do.
    pub waiting: Vec<WaitingOn>,
    /// When time alone changes the answer.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    /// Adds an action.
    pub fn act(&mut self, verb: Verb, cause: impl Into<String>) {
        self.actions.push(Action { verb, cause: cause.into() });
    }

    /// Says what is waited for; where time ends the wait, that moment is looked at again.
    pub fn wait(&mut self, reason: WaitReason, on: impl Into<String>, until: Option<Timestamp>) {
        self.waiting.push(WaitingOn { reason, on: on.into(), until });
        if let Some(until) = until {
            self.wake(until);
        }
    }

    /// Asks to be looked at again then, if there is a then, or earlier.
    pub fn wake(&mut self, at: impl Into<Option<Timestamp>>) {
        self.wake_at = earliest(self.wake_at, at.into());
    }

    /// Whether replicas are created, or some of these started.
    pub fn makes_replicas(&self, there: &[Replica]) -> bool {
        self.actions.iter().any(|action| match &action.verb {
            Verb::Create(blueprint) => blueprint.hook.is_none(),
            Verb::Start(target) => there.iter().any(|replica| replica.id == target.id),
            _ => false,
        })
    }

    /// Nothing to do, and nothing that will come by itself.
    pub fn settled(&self) -> bool {
        self.actions.is_empty() && self.waiting.is_empty()
    }
}

/// One call, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// What.
    pub verb: Verb,
    /// Why, for people.
    pub cause: String,
}

/// Everything that the controller can do.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// Start fetching an image. Observed later as `ImageState`.
    Pull {
        /// Its reference.
        image: ImageRef,
        /// Its platform, if one is asked for.
        platform: Option<String>,
        /// The digest that the registry says it has, where one is here already.
        digest: Option<ImageDigest>,
    },
    /// Remove an image that a pull of ours brought here. One that anybody uses by now, in whatever way, stays.
    RemoveImage {
        /// Its id.
        id: ImageId,
    },
    /// Create a replica; its name and labels make a repeated create a conflict with ourselves, never a twin.
    Create(Box<Blueprint>),
    /// Start a created replica.
    Start(Target),
    /// Take a replica out of traffic. Recorded, not an engine call; observable in status from then on.
    Drain(Target),
    /// Take a withdrawn replica back into traffic: it is wanted again, and nothing was begun that cannot be undone.
    /// Recorded, as the withdrawal was.
    UndoDrain(Target),
    /// Take over a container that Docker Compose made. Recorded, not an engine call.
    Adopt {
        /// Which.
        target: Target,
        /// The revision that it stands for.
        revision: Revision,
    },
    /// Begin to run the post-start hooks, one after the other, inside the container.
    PostStart {
        /// Which.
        target: Target,
        /// What to run.
        hooks: Vec<Hook>,
    },
    /// Begin to run the pre-stop hooks, one after the other, inside the container.
    PreStop {
        /// Which.
        target: Target,
        /// What to run.
        hooks: Vec<Hook>,
    },
    /// Switch the restart policy off, so that nothing brings it back after the stop.
    DisableRestart(Target),
    /// Begin to stop: its own stop signal, then SIGKILL after its own grace period.
    Stop {
        /// Which.
        target: Target,
        /// So many requests are in flight on it, and have had their time.
        cut: u32,
    },
    /// Remove a container that does not run. Its volumes stay.
    Remove(Target),
    /// Give it another name.
    Rename {
        /// Which.
        target: Target,
        /// The new name.
        to: String,
    },
    /// Give a name that one replica has to another one: two calls, so that the moment in which nobody answers to it is as short as
    /// it can be. Where only the first was made, the name is free, and the other replica is renamed later.
    MoveName {
        /// The name.
        name: String,
        /// Which replica has it.
        from: Target,
        /// What that one is called from then on.
        spare: String,
        /// Which replica gets it.
        to: Target,
    },
    /// Write down that a revision became available or was given up.
    RecordOutcome {
        /// Which.
        revision: Revision,
        /// What became of it.
        outcome: Outcome,
        /// The kind of failure, with a message, if it is one.
        failure: Option<(Reason, String)>,
    },
    /// Write down how a hook's container ended.
    RecordHookResult {
        /// Which hook.
        kind: HookKind,
        /// Of which revision.
        revision: Revision,
        /// What became of it.
        end: HookRecord,
    },
    /// Create a network of a project.
    CreateNetwork {
        /// Its key in the project, which Compose's label carries.
        key: String,
        /// Its name.
        name: NetworkName,
    },
    /// Create a named volume of a project.
    CreateVolume {
        /// Its key in the project.
        key: String,
        /// Its name.
        name: VolumeName,
    },
    /// Remove a network that this controller made and that no service needs any more.
    RemoveNetwork {
        /// Its name.
        name: NetworkName,
        /// Its id, where there are others of that name.
        id: Option<NetworkId>,
    },
}

/// The container that an action is about: by id, since a name may by now be another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The engine's full id.
    pub id: ContainerId,
    /// Its name, for people.
    pub name: String,
}

/// All that is needed to create a replica, or the container of a hook.
#[derive(Clone, Debug, PartialEq)]
pub struct Blueprint {
    /// Whose replica.
    pub service: ServiceName,
    /// Which hook it is the container of; `None`: a replica.
    pub hook: Option<HookKind>,
    /// Its number; of a hook, which attempt it is.
    pub number: u32,
    /// The container's name.
    pub name: String,
    /// Its revision.
    pub revision: Revision,
    /// The generation it is made for.
    pub generation: u64,
    /// What to make.
    pub spec: Arc<ServiceSpec>,
    /// The anonymous volumes that it has from the one whose place it takes, by where they are mounted.
    pub volumes: BTreeMap<String, VolumeName>,
    /// The replicas whose namespaces it joins, by their service.
    pub joins: BTreeMap<String, Target>,
    /// The engine's id of the image to make it of; without one, what the specification's name stands for.
    pub image: Option<ImageId>,
}

/// A thing waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitingOn {
    /// The kind of wait.
    pub reason: WaitReason,
    /// For people: `shop-web-4 to become healthy`.
    pub on: String,
    /// When the wait ends at the latest, if time ends it.
    pub until: Option<Timestamp>,
}

impl Verb {
    /// Whether it is only written down: no engine call, so no engine event follows it.
    pub fn is_record(&self) -> bool {
        matches!(self, Self::Drain(_) | Self::UndoDrain(_) | Self::Adopt { .. })
            || matches!(self, Self::RecordOutcome { .. } | Self::RecordHookResult { .. })
    }

    /// The kind of action, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pull { .. } => "pull",
            Self::RemoveImage { .. } => "remove_image",
            Self::Create(print) if print.hook.is_some() => "create_hook",
            Self::Create(_) => "create",
            Self::Start(_) => "start",
            Self::Drain(_) => "drain",
            Self::UndoDrain(_) => "undo_drain",
            Self::Adopt { .. } => "adopt",
            Self::PostStart { .. } => "post_start",
            Self::PreStop { .. } => "pre_stop",
            Self::DisableRestart(_) => "disable_restart",
            Self::Stop { .. } => "stop",
            Self::Remove(_) => "remove",
            Self::Rename { .. } => "rename",
            Self::MoveName { .. } => "move_name",
            Self::RecordOutcome { .. } => "record_outcome",
            Self::RecordHookResult { .. } => "record_hook_result",
            Self::CreateNetwork { .. } => "create_network",
            Self::CreateVolume { .. } => "create_volume",
            Self::RemoveNetwork { .. } => "remove_network",
        }
    }

    /// The one container that it is about, where that exists already.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Start(target)
            | Self::Drain(target)
            | Self::UndoDrain(target)
            | Self::DisableRestart(target)
            | Self::Remove(target)
            | Self::Adopt { target, .. }
            | Self::PostStart { target, .. }
            | Self::PreStop { target, .. }
            | Self::Stop { target, .. }
            | Self::Rename { target, .. } => Some(target),
            Self::Pull { .. }
            | Self::RemoveImage { .. }
            | Self::Create(_)
            | Self::MoveName { .. }
            | Self::RecordOutcome { .. }
            | Self::RecordHookResult { .. }
            | Self::CreateNetwork { .. }
            | Self::CreateVolume { .. }
            | Self::RemoveNetwork { .. } => None,
        }
    }

    /// Whether it is a call to the engine, and no record of the loop's own.
    pub fn is_call(&self) -> bool {
        !self.is_record()
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pull { image, .. } => write!(f, "pull {image}"),
            Self::RemoveImage { id } => {
                let hash = id.as_str().trim_start_matches("sha256:");
                write!(f, "remove image {}", hash.get(..12).unwrap_or(hash))
            }
            Self::Create(print) => {
                write!(f, "create {} (revision {})", print.name, print.revision)?;
                for beside in print.joins.values() {
                    write!(f, " beside {}", beside.name)?;
                }
                let places: Vec<&str> = print.volumes.keys().map(String::as_str).collect();
                if places.is_empty() {
                    Ok(())
                } else {
                    write!(f, " with its predecessor's data at {}", places.join(", "))
                }
            }
            Self::Start(target) => write!(f, "start {}", target.name),
            Self::Drain(target) => write!(f, "drain {}", target.name),
            Self::UndoDrain(target) => write!(f, "undo the drain of {}", target.name),
            Self::Adopt { target, .. } => write!(f, "adopt {}", target.name),
            Self::PostStart { target, .. } => write!(f, "run post_start in {}", target.name),
            Self::PreStop { target, .. } => write!(f, "run pre_stop in {}", target.name),
            Self::DisableRestart(target) => write!(f, "switch off the restart policy of {}", target.name),
            Self::Stop { target, cut: 0 } => write!(f, "stop {}", target.name),
            Self::Stop { target, cut } => write!(f, "stop {}, which ends what is in flight on it: {cut}", target.name),
            Self::Remove(target) => write!(f, "remove {}", target.name),
            Self::Rename { target, to } => write!(f, "rename {} to {to}", target.name),
            Self::MoveName { name, spare, to, .. } => {
                write!(f, "give the name {name} to {}; its predecessor is {spare} from then on", to.name)
            }
            Self::RecordOutcome { revision, outcome, .. } => match outcome {
                Outcome::Available => write!(f, "record: revision {revision} is available"),
                Outcome::Failed => write!(f, "record: revision {revision} has failed"),
                Outcome::Pending | Outcome::Superseded => write!(f, "record: revision {revision} is open"),
            },
            Self::RecordHookResult { kind, revision, end } => {
                write!(f, "{kind} of revision {revision} {}", describe_hook_result(end))
            }
            Self::CreateNetwork { name, .. } => write!(f, "create network {name}"),
            Self::CreateVolume { name, .. } => write!(f, "create volume {name}"),
            Self::RemoveNetwork { name, id: None } => write!(f, "remove network {name}"),
            Self::RemoveNetwork { name, id: Some(id) } => {
                write!(f, "remove network {} of the name {name}", id.as_str().get(..12).unwrap_or(id.as_str()))
            }
        }
    }
}

/// How a hook ended, for people.
pub fn describe_hook_result(end: &HookRecord) -> String {
    if let Some(why) = &end.refused {
        return format!("could not be run: {why}");
    }
    let code = end.code.map_or_else(|| "without an exit code".to_owned(), |code| format!("with code {code}"));
    let said = last_lines(&end.output);
    match end.state {
        HookState::Due => "is due".to_owned(),
        HookState::Begun => "was begun".to_owned(),
        HookState::Done => format!("ended {code}"),
        HookState::Failed => format!("ended {code}{said}"),
        HookState::TimedOut => format!("took longer than its timeout, and ended {code}{said}"),
        HookState::Interrupted => match end.code {
            Some(_) => format!("was interrupted, and ended {code}{said}"),
            None => "was interrupted: its container is gone".to_owned(),
        },
    }
}

/// The earlier of two moments, where there are any.
pub fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
