//! What people ask for between two passes, `undo` and `rollout`, and what may be gone back to.

use composed_core::model::{Replica, RolloutOptions, UndoDecision};

use super::*;

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Undo,
    Rollout,
}

impl Run {
    /// Commands are answered, and last, before the pass that carries them out.
    pub(super) fn follow_orders(&mut self, replicas: &[Replica], seen: &mut Seen) {
        let now = self.now();
        for order in std::mem::take(&mut self.orders) {
            match (order, self.desired.clone()) {
                (Order::Undo, desired @ Desired::Run(_)) => {
                    // Of a document that no pass has taken in yet nothing is undone: its change is the newer wish.
                    let mut memory = self.memory.clone();
                    let Desired::Run(desired) = memory.with_manual_rollout(desired, replicas) else { continue };
                    let current = self.memory.digest == desired.digest;
                    let done = matches!(self.memory.undo(None, None, now), Ok(UndoDecision::Back(..)));
                    self.undone = self.memory.undone().is_some() && current;
                    seen.undone += u32::from(done);
                }
                (Order::Rollout, Desired::Run(desired)) => {
                    if !self.memory.roll_out_undone(now) {
                        self.memory.begin_manual_rollout(&desired, replicas, RolloutOptions::default(), now);
                        self.given_up.clear();
                    }
                    self.ledger.epoch += 1;
                    seen.rolled_out += 1;
                }
                (_, Desired::Gone(_) | Desired::Held(_)) => {}
            }
            self.persisted = self.memory.clone();
        }
        let mut memory = self.memory.clone();
        self.understood = memory.with_manual_rollout(self.desired.clone(), replicas);
    }

    /// Takes note of the images of which all replicas that are wanted have served at one time, by the world's own word.
    pub(super) fn note_whole(&mut self) {
        let serving = self.serving(Duration::ZERO);
        let mut count: BTreeMap<ImageRef, u32> = BTreeMap::new();
        self.sim.with(|world, _| {
            for container in serving.iter().filter_map(|id| world.containers.get(id)) {
                *count.entry(container.spec.image.clone()).or_default() += 1;
            }
        });
        let wanted = self.wish.replicas;
        self.whole.extend(count.into_iter().filter(|(_, count)| *count >= wanted).map(|(image, _)| image));
        // All of none is there at once.
        if wanted == 0 && !self.wish.held {
            self.whole.insert(self.wish.image.clone());
        }
    }

    /// S14: what is made and is not what the document asks for was whole once.
    pub(super) fn judge_what_is_gone_back_to(&self, verbs: &[Verb], after: &ServiceRecord) {
        let given_up = after.revisions.failure.is_some() || after.undone().is_some();
        for verb in verbs {
            let Verb::Create(blueprint) = verb else { continue };
            let image = &blueprint.spec.image;
            let other = *image != self.wish.image && blueprint.hook.is_none();
            assert!(!other || *image != "bad:1", "S14: {image} is made, which nobody asks for");
            assert!(
                !(other && given_up) || self.whole.contains(image),
                "S14: {image} is gone back to, which was never whole: {:?}",
                self.whole
            );
        }
    }

    /// What was undone by hand stays so until the document asks for something else, or nobody remembers it.
    pub(super) fn judge_undone(&self) {
        assert!(
            !self.undone || self.memory.undone().is_some(),
            "S15: what was undone has come back: {:#?}",
            self.memory
        );
    }
}
