//! Promises of a single plan, whatever is wanted, seen and remembered: any subset of its actions, in any order, keeps at least
//! `replicas - max_unavailable` available and at most `replicas + max_surge` started; nothing in flight is cut off, nobody
//! is removed while it runs, what is paused begins nothing, hooks run once, who shares namespaces goes first, and what is
//! settled asks for nothing. The arithmetic is the judge's own.
//!
//! `CASES=n` plays so many. Cases that have failed once are in `promises.regressions`, and played first.

mod dice;
mod irreplaceable;
mod jobs;
mod judge;
mod names;
mod namespaces;
mod past;
mod replica;
mod scene;

use std::cell::RefCell;
use std::collections::BTreeMap;

use composed_core::plan::action::{Plan, Verb};
use composed_core::plan::plan;
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngAlgorithm, TestRng, TestRunner};

use judge::Judge;
use scene::Scene;

/// So many in a run of CI.
const CASES: u32 = 100_000;

fn words(plan: &Plan) -> String {
    let actions = plan.actions.iter().map(|action| format!("do {}: {}\n", action.verb, action.cause));
    let waiting = plan.waiting.iter().map(|waiting| format!("wait {} {:?}\n", waiting.on, waiting.until));
    actions.chain(waiting).chain([format!("wake {:?}", plan.wake_at)]).collect()
}

/// What the plans were about, so that scenes that have become dull are seen.
#[derive(Debug, Default)]
struct Met(RefCell<BTreeMap<&'static str, u64>>);

impl Met {
    fn count(&self, plan: &Plan) {
        let mut met = self.0.borrow_mut();
        for action in &plan.actions {
            let kind = match &action.verb {
                Verb::Create(blueprint) if blueprint.hook.is_some() => "create a hook",
                verb => verb.kind(),
            };
            *met.entry(kind).or_default() += 1;
        }
        *met.entry("settled").or_default() += u64::from(plan.settled());
    }

    fn least(&self) -> (&'static str, u64) {
        let met = self.0.borrow();
        let kinds = [
            "adopt",
            "record_outcome",
            "create",
            "create a hook",
            "disable_restart",
            "record_hook_result",
            "post_start",
            "pre_stop",
            "pull",
            "undo_drain",
            "remove",
            "rename",
            "settled",
            "start",
            "stop",
            "drain",
        ];
        let counts = kinds.map(|kind| (kind, met.get(kind).copied().unwrap_or_default()));
        counts.into_iter().min_by_key(|(_, count)| *count).unwrap_or_default()
    }
}

#[test]
fn any_subset_of_a_plan_keeps_the_promises() {
    let cases = std::env::var("CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    let config = ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        source_file: Some(file!()),
        ..ProptestConfig::default()
    };
    // The same scenes in each run, so that a change is what breaks it; `ANEW=1` plays others.
    let mut runner = match std::env::var_os("ANEW") {
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
        Some(_) => TestRunner::new(config),
    };
    let met = Met::default();
    let played = runner.run(&proptest::collection::vec(any::<u8>(), 20..260), |bytes| {
        let scene = Scene::new(&bytes);
        let plan = plan(&scene.desired, &scene.observed, &scene.memory, scene.now);
        met.count(&plan);
        let verdict = Judge { scene: &scene, plan: &plan }.judge();
        verdict.map_err(|broken| TestCaseError::fail(format!("{broken}\n{}\n{}", scene.told(), words(&plan))))
    });
    if let Err(broken) = played {
        panic!("{broken}");
    }
    assert!(cases < CASES || met.least().1 > u64::from(cases) / 1000, "the scenes are dull: {met:?}");
}
