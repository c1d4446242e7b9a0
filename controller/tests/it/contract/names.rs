//! The cases about names that move from one replica to another.

use composed_core::model::State;
use composed_core::plan::action::Verb;
use futures_util::FutureExt;

use super::{Case, Kind, Stage, apply, created, name_taken, promises, replica, replicas, stale, started, web};

pub(super) fn cases() -> Vec<Case> {
    promises![
        a_name_moves_to_another_one,
        a_name_that_has_moved_stays_where_it_is,
        a_name_does_not_move_where_the_spare_one_is_foreign,
    ]
}

/// From one that runs to one that runs.
async fn a_name_moves_to_another_one(stage: &dyn Stage) {
    let (old, new) = (started(stage, Kind::Serves, 1).await, started(stage, Kind::Serves, 2).await);
    let (name, spare) = (old.name.clone(), web(stage).container(3));
    let verb = Verb::MoveName { name: name.clone(), from: old.clone(), spare: spare.clone(), to: new.clone() };
    for _ in 0..2 {
        apply(stage, verb.clone()).await.expect("the name moves, and has moved");
        assert_eq!(replica(stage, &old).await.expect("the old one").name, spare);
        assert_eq!(replica(stage, &new).await.expect("the new one").name, name);
    }
    assert!(replicas(stage).await.iter().all(|one| one.state == State::Running), "both go on");
}

/// What a plan says that was made of an earlier look.
async fn a_name_that_has_moved_stays_where_it_is(stage: &dyn Stage) {
    let [old, new, other] = [1, 2, 3].map(|number| created(stage, Kind::Serves, number));
    let (old, new, other) = (old.await, new.await, other.await);
    let (name, spare) = (old.name.clone(), web(stage).container(4));
    apply(stage, Verb::Rename { target: old.clone(), to: spare.clone() }).await.expect("half of it");
    let verb = Verb::MoveName { name: name.clone(), from: old, spare: spare.clone(), to: new.clone() };
    let moved = apply(stage, verb).await;
    assert!(stale(&moved), "{moved:?}");
    apply(stage, Verb::Rename { target: new.clone(), to: name.clone() }).await.expect("the other half");
    let verb =
        Verb::MoveName { name: name.clone(), from: other.clone(), spare: web(stage).container(5), to: new.clone() };
    apply(stage, verb).await.expect("it is where it belongs");
    assert_eq!(replica(stage, &new).await.expect("the new one").name, name);
    assert_eq!(replica(stage, &other).await.expect("the other one").name, other.name);
}

async fn a_name_does_not_move_where_the_spare_one_is_foreign(stage: &dyn Stage) {
    let (old, new) = (created(stage, Kind::Serves, 1).await, created(stage, Kind::Serves, 2).await);
    let spare = web(stage).container(3);
    stage.add_foreign(&spare).await;
    let verb = Verb::MoveName { name: old.name.clone(), from: old.clone(), spare, to: new.clone() };
    let moved = apply(stage, verb).await;
    assert!(name_taken(&moved), "{moved:?}");
    assert_eq!(replica(stage, &old).await.expect("the old one").name, old.name);
    assert_eq!(replica(stage, &new).await.expect("the new one").name, new.name);
}
