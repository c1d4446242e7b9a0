//! The judge, which looks at the world and never at the planner.

use super::*;

/// The engine, with the judge looking over its shoulder at every call.
pub(super) struct Judged<'a> {
    pub(super) run: &'a Run,
    pub(super) verbs: Mutex<Vec<Verb>>,
    pub(super) ends: Mutex<Vec<ContainerId>>,
    pub(super) snapshot: Mutex<Vec<String>>,
}

impl Engine for Judged<'_> {
    fn describe(&self) -> String {
        self.run.sim.describe()
    }
    fn watch(&self) -> futures_util::stream::BoxStream<'static, Option<Key>> {
        self.run.sim.watch()
    }
    fn list<'a>(&'a self, compose: &'a Arc<BTreeSet<ServiceName>>) -> BoxFuture<'a, Result<Listing, EngineError>> {
        self.run.sim.list(compose)
    }
    fn list_service<'a>(
        &'a self,
        service: &'a ServiceName,
        compose: &'a Arc<BTreeSet<ServiceName>>,
    ) -> BoxFuture<'a, Result<ListedService, EngineError>> {
        self.run.sim.list_service(service, compose)
    }
    fn list_objects(&self) -> BoxFuture<'_, Result<ListedObjects, EngineError>> {
        self.run.sim.list_objects()
    }
    fn observe<'a>(
        &'a self,
        scope: &'a ObserveRequest,
        listing: &'a Arc<Listing>,
    ) -> BoxFuture<'a, Result<Snapshot, EngineError>> {
        self.run.sim.observe(scope, listing)
    }
    fn apply<'a>(&'a self, verb: &'a Verb, context: &'a ActionContext) -> BoxFuture<'a, Result<(), EngineError>> {
        let run = self.run;
        let now = run.now();
        if let Verb::Stop { target, .. } | Verb::DisableRestart(target) = verb {
            self.ends.lock().unwrap().push(target.id.clone());
        }
        if let Verb::Stop { target, .. } = verb {
            let since = run.memory.replicas.draining.get(&target.id);
            let idle = since.is_some_and(|since| {
                run.sim.in_flight(&target.id, *since) == InFlight::Count(0) || now >= *since + DRAIN
            });
            let (running, asked) = run.sim.with(|w, now| {
                let container = w.containers.get(&target.id);
                let asked = container.is_some_and(|c| c.behaviour.lag.is_some() && c.in_rotation(now));
                (container.map(|c| c.replica.state), asked)
            });
            let patient = since.is_some_and(|since| now >= *since + DRAIN);
            if run.is_of_hook(&target.id) {
                self.snapshot.lock().unwrap().extend(run.stops_a_hook_early(&target.id));
            } else if running == Some(State::Running) && (!idle || (asked && !patient)) {
                self.problem(format!("S5: {} is stopped while in traffic or busy", target.name));
            }
        }
        let done = run.sim.apply(verb, context).now_or_never().unwrap();
        if done.is_ok() {
            self.verbs.lock().unwrap().push(verb.clone());
        }
        if let Verb::Start(_) = verb {
            let most = run.case.most(&run.wish);
            let count = if run.case.stop_first { run.running().len() } else { run.in_traffic() };
            let of_hook = matches!(verb, Verb::Start(target) if target.name.ends_with("-deploy"));
            if done.is_ok() && count > most && !of_hook {
                self.problem(format!("S2: {count} run, at most {most} may"));
            }
        }
        std::future::ready(done).boxed()
    }
    fn claim(&self) -> BoxFuture<'_, Result<composed_core::engine::LeaseState, EngineError>> {
        self.run.sim.claim()
    }
    fn release(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.run.sim.release()
    }
}

impl Judged<'_> {
    fn problem(&self, text: String) {
        self.snapshot.lock().unwrap().push(text);
    }
}

impl Run {
    pub(super) fn judge_pass(
        &mut self,
        after: &ServiceRecord,
        verbs: &[Verb],
        (serving, known): (&BTreeSet<ContainerId>, &BTreeSet<ContainerId>),
        outcome: &composed::reconcile::PassResult,
        seen: &mut Seen,
    ) {
        if std::env::var_os("SEED").is_some() {
            let deeds: Vec<_> = outcome
                .results
                .iter()
                .map(|d| format!("{} [{}] {:?}", d.action.verb, d.action.cause, d.error))
                .collect();
            let waits: Vec<_> = outcome.plan.waiting.iter().map(|w| w.on.as_str()).collect();
            println!("{} {deeds:#?} {waits:?}", self.now());
        }
        if self.case.job {
            return;
        }
        // S1: who leaves traffic leaves enough behind.
        let withdrawn: BTreeSet<_> = after
            .replicas
            .draining
            .keys()
            .filter(|id| !self.memory.replicas.draining.contains_key(*id))
            .cloned()
            .collect();
        let left = serving.difference(&withdrawn).count();
        let least = self.case.least(&self.wish);
        let costs = known.intersection(&withdrawn).count();
        assert!(
            costs == 0 || left >= least,
            "S1: {costs} withdrawn, {left} serving, at least {least} wanted\n{:#?}",
            outcome.plan
        );
        // S2: nor does who comes back make too many.
        let back = self.memory.replicas.draining.keys().filter(|id| !after.replicas.draining.contains_key(*id));
        let back: BTreeSet<_> = self.running().intersection(&back.cloned().collect()).cloned().collect();
        for id in &back {
            assert!(!self.leaving.contains(id), "S5: {id} comes back after its end was begun");
        }
        let in_traffic = self.running().iter().filter(|id| !after.replicas.draining.contains_key(*id)).count();
        assert!(back.is_empty() || in_traffic <= self.case.most(&self.wish), "S2: {back:?} make {in_traffic}");
        seen.readmitted += u32::try_from(back.len()).unwrap();
        // S12: nothing is touched while nothing credible is wanted.
        assert!(!self.wish.held || verbs.is_empty(), "S12: {verbs:?}");
        for result in &outcome.results {
            if let Verb::RecordOutcome { outcome: Outcome::Failed, .. } = &result.action.verb {
                seen.rollbacks += 1;
                let alternative = after.last_available(&self.revision()).is_some();
                if alternative {
                    self.given_up.insert(self.revision());
                }
                let disturbed = self.disturbances > 0 || self.case.fault_rate > 0.0 || self.case.planned.is_some();
                assert!(self.wish.image.as_str().starts_with("bad") || disturbed);
            }
        }
        // S6: what was given up is not made again.
        for verb in verbs {
            if let Verb::Create(blueprint) = verb
                && blueprint.hook.is_none()
            {
                let same = self.revision() == blueprint.revision;
                let again = same && self.given_up.contains(&blueprint.revision);
                assert!(
                    !(again && after.last_available(&blueprint.revision).is_some()),
                    "S6: {} is made again after it was given up",
                    blueprint.revision
                );
                seen.retries += u32::from(again);
            }
        }
    }

    /// Who asks for the fixed name reaches a replica that serves, whenever there is one and nothing was broken off.
    pub(super) fn judge_the_name(&self, outcome: &composed::reconcile::PassResult, seen: &mut Seen) {
        let Some(fixed) = &self.case.fixed_name else { return };
        for moved in outcome.results.iter().filter(|one| matches!(one.action.verb, Verb::MoveName { .. })) {
            seen.names_moved += u32::from(moved.error.is_none());
            let free = self.sim.with(|world, _| world.containers.named(fixed).is_none());
            seen.names_half_moved += u32::from(free);
        }
        let broken = self.case.fault_rate > 0.0 || self.case.planned.is_some() || self.disturbances > 0;
        let bad = self.wish.image.as_str().starts_with("bad") || !self.given_up.is_empty();
        let rests = self.wish.gone || self.wish.held;
        if broken || bad || rests || self.case.stop_first || self.case.surge == 0 || self.case.unavailable > 0 {
            return;
        }
        let serving = self.serving(Duration::ZERO);
        let named = self.sim.with(|world, _| {
            let one = world.containers.named(fixed).filter(|one| one.replica.state == State::Running);
            one.map(|one| one.replica.id.clone())
        });
        assert!(serving.is_empty() || named.is_some(), "S17: {serving:?} serve, and nobody answers to {fixed}");
    }

    pub(super) fn judge_end(&self, seen: &mut Seen) {
        seen.jobs += u32::from(self.case.job);
        let states: Vec<_> = self.sim.with(|world, _| {
            let ours = world.containers.values().filter(|c| c.ours && c.hook.is_none());
            ours.map(|c| (c.replica.name.clone(), c.replica.state, c.spec.image.clone())).collect()
        });
        self.judge_hooks_at_the_end();
        let live: Vec<_> = states.iter().filter(|(_, state, _)| state.is_live()).collect();
        // S3 and S4: what is not ours, and what is data, is as it was.
        self.sim.with(|world, _| {
            let foreign = world.containers.values().filter(|c| !c.ours);
            assert_eq!(foreign.filter(|c| c.replica.state == State::Created).count(), 2, "S3");
            assert!(world.volumes.contains_key("shop_data"), "S4");
        });
        if self.wish.gone {
            assert!(states.is_empty(), "L1: it is gone, but there is {states:?}");
            return;
        }
        self.judge_undone();
        if self.case.job {
            return self.judge_job_at_the_end();
        }
        let leftovers = states.len() - live.len();
        let bad = self.wish.image.as_str().starts_with("bad");
        let failed = self.memory.revisions.failure.is_some();
        // Paused means left as it is, for a person.
        if self.case.action == FailureAction::Pause && failed {
            return;
        }
        // With nothing to go back to it is tried again for ever: the end is a moment in the middle of that.
        let retries = bad
            && failed
            && self.memory.last_available(&self.memory.revisions.failure.as_ref().unwrap().revision).is_none();
        assert!(leftovers <= 1 || retries, "L1: leftovers {states:?} {:#?} {:#?}", self.before, self.memory);
        let undone = self.memory.undone().is_some();
        if undone {
            assert!(live.iter().all(|(_, _, image)| self.whole.contains(image)), "S14: {states:?}");
        }
        if !bad && !failed {
            assert_eq!(live.len(), self.wish.replicas as usize, "L1: {states:?}\n{:#?}", self.before);
            assert!(undone || live.iter().all(|(_, _, image)| *image == self.wish.image), "L1: {states:?}");
            assert_eq!(leftovers, 0, "L1: leftovers {states:?} {:#?}", self.memory);
            let named = |name: &String| live.iter().all(|(own, _, _)| own == name);
            assert!(self.case.fixed_name.as_ref().is_none_or(named), "L1: the name is lost: {states:?}");
        }
        if bad && !undone && self.wish.replicas > 0 && self.case.action == FailureAction::Rollback {
            let shown = self.before.as_ref().unwrap();
            assert!(shown.conditions.iter().any(|c| !c.status), "a broken revision must not look well: {shown:#?}");
            if self.memory.last_available(&Revision::default()).is_some() {
                assert!(live.iter().all(|(_, _, image)| !image.as_str().starts_with("bad")), "L1: {states:?}");
                assert_eq!(live.len(), self.wish.replicas as usize, "L1: {states:?}");
            }
        }
        // S13: the work is bounded by what happened.
        let changes = self.case.script.len() as u64 + self.disturbances;
        let faults = if self.case.fault_rate > 0.0 || self.case.planned.is_some() { 10 } else { 1 };
        assert!(
            self.applied <= 60 * changes * faults,
            "S13: {} calls for {changes} changes {:#?} {:?}",
            self.applied,
            self.before,
            self.sim.with(|w, _| w.log[w.log.len() - 60..].to_vec())
        );
    }
}
