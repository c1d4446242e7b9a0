//! What `desired.yaml` and `observed.yaml` of a folder say.

use super::*;

/// What a case says of the world. Times are so long ago.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "a case says what is special about the world")]
pub(super) struct World {
    /// The document is gone, or held for this reason.
    pub(super) gone: bool,
    pub(super) missed: Option<ComposeDuration>,
    pub(super) held: Option<String>,
    pub(super) replicas: Vec<Seen>,
    /// Images that are here; absent: both.
    pub(super) images: Option<Vec<ImageRef>>,
    pub(super) pull_failed: Option<ComposeDuration>,
    /// So many times in a row.
    pub(super) pulls_failed: Option<u32>,
    pub(super) missing: Vec<String>,
    /// What others have to create.
    pub(super) missing_external: BTreeMap<String, String>,
    /// What the old revision lacks.
    pub(super) old_missing: Vec<String>,
    /// Why it could not be made.
    pub(super) refused: Option<String>,
    /// The image was fetched for the new revision.
    pub(super) pulled: bool,
    /// This process has looked for so long only.
    pub(super) back: Option<ComposeDuration>,
    /// It is brought about once.
    pub(super) once: bool,
    /// Another service waits for this one to complete.
    pub(super) one_shot: bool,
    pub(super) unmet: BTreeMap<String, String>,
    /// Those of them that will not come by waiting.
    pub(super) unmet_for_good: BTreeSet<String>,
    pub(super) neighbours: NamespaceNeighbours,
    /// Host ports that it is to have, and others have.
    pub(super) port_conflicts: Vec<PortConflict>,
    /// The old revision's host port, if it is another one.
    pub(super) old_port: Option<u16>,
    /// The old revision's image. What else the old revision has is as in the document.
    pub(super) old_image: Option<ImageRef>,
    /// Whether the old revision was available, and the new one.
    pub(super) old_available: bool,
    pub(super) new_available: bool,
    /// The desired revision has failed for this reason.
    pub(super) failed: Option<String>,
    /// Its kind; absent: it was unhealthy.
    pub(super) failed_by: Option<Reason>,
    /// So many of the new revision, and of the old one, have ended with their work done.
    pub(super) completed: u32,
    pub(super) old_completed: u32,
    /// Those of the new one ended so long ago.
    pub(super) ends: Vec<ComposeDuration>,
    /// So many failures of the desired revision in a row, the last so long ago.
    pub(super) trouble: Option<(u32, ComposeDuration)>,
    /// Others removed containers of it so long ago, each time.
    pub(super) removed_by_others: Vec<ComposeDuration>,
    /// The rollout last came nearer to its end so long ago.
    pub(super) progress: Option<ComposeDuration>,
    /// Who has to roll out first.
    pub(super) turn: Option<String>,
    /// Containers of its hooks.
    pub(super) hooks: Vec<SeenHook>,
    /// What is remembered of the hooks of the new revision.
    pub(super) pre_deploy: Option<HookState>,
    pub(super) post_deploy: Option<HookState>,
}

impl World {
    pub(super) fn missing_earlier(&self, old: &ServiceSpec) -> BTreeMap<Revision, Vec<String>> {
        let missing = (old.revision(), self.old_missing.clone());
        [missing].into_iter().filter(|(_, missing)| !missing.is_empty()).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeenHook {
    pub(super) kind: HookKind,
    /// `new` or `old`.
    pub(super) revision: String,
    #[serde(default)]
    pub(super) created: bool,
    /// Running for so long.
    #[serde(default)]
    pub(super) running: Option<ComposeDuration>,
    #[serde(default)]
    pub(super) exited: Option<i64>,
    /// It took so long.
    #[serde(default)]
    pub(super) took: Option<ComposeDuration>,
    #[serde(default)]
    pub(super) stopping: bool,
    #[serde(default)]
    pub(super) by_hand: bool,
    #[serde(default)]
    pub(super) output: Vec<String>,
}

impl SeenHook {
    pub(super) fn run(&self, desired: &DesiredService, old: &ServiceSpec, now: Timestamp) -> HookRun {
        let name = self.kind.container(&desired.name);
        let began = now - self.running.or(self.took).unwrap_or(ComposeDuration::from_secs(1)).get();
        HookRun {
            id: ContainerId::new(format!("id-{name}")),
            name,
            kind: self.kind,
            revision: if self.revision == "new" { desired.revision.clone() } else { old.revision() },
            generation: if self.revision == "new" { 2 } else { 1 },
            attempt: 1,
            state: match (self.created, self.exited) {
                (true, _) => State::Created,
                (_, Some(code)) => State::Exited(code),
                _ => State::Running,
            },
            started_at: (!self.created).then_some(began),
            ended_at: self.exited.map(|_| now),
            out_of_memory: false,
            stopping: self.stopping,
            stopped_externally: self.by_hand,
            output: self.output.clone(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "a case says what is special about a replica")]
pub(super) struct Seen {
    pub(super) number: u32,
    /// `new`, `old`, or another revision's name.
    pub(super) revision: String,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) created: bool,
    /// Made so long ago; absent: long ago.
    #[serde(default)]
    pub(super) made: Option<ComposeDuration>,
    #[serde(default)]
    pub(super) exited: Option<i64>,
    #[serde(default)]
    pub(super) paused: bool,
    #[serde(default)]
    pub(super) removing: bool,
    /// Running for so long.
    #[serde(default)]
    pub(super) running: Option<ComposeDuration>,
    /// Ready for so long, too.
    #[serde(default)]
    pub(super) ready: Option<ComposeDuration>,
    #[serde(default)]
    pub(super) health: Option<Health>,
    #[serde(default)]
    pub(super) withdrawn: Option<ComposeDuration>,
    /// Withdrawn by this process, with nothing further begun.
    #[serde(default)]
    pub(super) revocable: bool,
    #[serde(default)]
    pub(super) in_flight: Option<u32>,
    #[serde(default)]
    pub(super) uncountable: bool,
    #[serde(default)]
    pub(super) stopping: bool,
    #[serde(default)]
    pub(super) restarts: bool,
    #[serde(default)]
    pub(super) restart_count: u32,
    #[serde(default)]
    pub(super) pre_stop_done: bool,
    /// Those who send requests take in what is shown of it within so long.
    #[serde(default)]
    pub(super) rotation: Option<ComposeDuration>,
    /// Its anonymous volumes, by where they are mounted.
    #[serde(default)]
    pub(super) volumes: BTreeMap<String, VolumeName>,
    /// Docker Compose made it; it differs in these keys.
    #[serde(default)]
    pub(super) compose: Option<Vec<String>>,
    /// Of what Docker Compose made it cannot be told.
    #[serde(default)]
    pub(super) untold: bool,
    /// Where its image says that it keeps data.
    #[serde(default)]
    pub(super) data: BTreeSet<String>,
    /// It has joined the network of this container of vpn, which has run for so long.
    #[serde(default)]
    pub(super) beside: Option<(String, Option<ComposeDuration>)>,
    /// Somebody else has told it to stop.
    #[serde(default)]
    pub(super) by_hand: bool,
    /// That was noticed so long ago.
    #[serde(default)]
    pub(super) stopped: Option<ComposeDuration>,
    /// It was adopted as what its revision says.
    #[serde(default)]
    pub(super) adopted: bool,
}

impl Seen {
    /// Docker Compose made it of something else, and of what is known.
    pub(super) fn is_told(&self) -> bool {
        self.compose.as_ref().is_some_and(|differs| !differs.is_empty()) && !self.untold
    }

    pub(super) fn rotation(&self, now: Timestamp) -> Propagation {
        let pending =
            |within: ComposeDuration| Propagation::Pending { who: "the proxy".to_owned(), until: now + within.get() };
        self.rotation.map_or_else(Propagation::default, pending)
    }

    pub(super) fn replica(&self, desired: &DesiredService, old: &ServiceSpec, now: Timestamp) -> Replica {
        let revision = match self.revision.as_str() {
            "new" => desired.revision.clone(),
            "old" => old.revision(),
            other => Revision::new(other),
        };
        let state = match (self.created, self.exited, self.paused) {
            (true, ..) => State::Created,
            (_, Some(code), _) => State::Exited(code),
            (.., true) => State::Paused,
            _ if self.removing => State::Removing,
            _ => State::Running,
        };
        let healthy = if desired.spec.healthcheck.is_some() { Health::Healthy } else { Health::None };
        Replica {
            id: ContainerId::new(format!("id-{}", self.number)),
            name: self.name.clone().unwrap_or_else(|| desired.name.container(self.number)),
            number: self.number,
            service: desired.name.clone(),
            generation: if self.revision == "new" { 2 } else { 1 },
            revision,
            image: ImageId::default(),
            image_name: ImageRef::default(),
            created_at: now
                - self.made.map_or(std::time::Duration::from_secs(1000 - u64::from(self.number)), ComposeDuration::get),
            state,
            started_at: self.running.or(self.ready).map(|ago| now - ago.get()),
            restart_count: self.restart_count,
            restarts: self.restarts,
            health: self.health.unwrap_or(if self.ready.is_some() { healthy } else { Health::None }),
            probe: Probe::None,
            propagation: self.rotation(now),
            in_flight: match (self.uncountable, self.in_flight) {
                (true, _) => InFlight::Uncountable,
                (_, Some(count)) => InFlight::Count(count),
                _ => InFlight::Unknown,
            },
            busy_with: self.stopping.then_some(RunningOperation::Stop),
            pre_stop_done: self.pre_stop_done,
            busy_until: None,
            pre_stop_failure: None,
            post_start: None,
            addresses: BTreeMap::new(),
            ports: BTreeMap::new(),
            pid: 0,
            volumes: self.volumes.clone(),
            data: self.data.clone(),
            joined: self.beside.iter().map(|(id, runs)| owner(id, runs.map(|runs| now - runs.get()))).collect(),
            stopped_externally: self.by_hand,
            created_by: self.compose.as_ref().map(|_| "docker compose 5.6.1".to_owned()),
            compose: self
                .compose
                .clone()
                .map(|differs| if differs.is_empty() { Comparison::Same } else { Comparison::Differs(differs) }),
            specification: self.is_told().then(|| Arc::new(old.clone())),
            failed_check: None,
            output: Vec::new(),
            out_of_memory: false,
        }
    }
}
