//! Who cannot begin: what is told of it, who goes on without it, and what becomes of what runs meanwhile.

use crd_schema::status::{ConditionType, Reason};

use super::*;

/// Whom a dependency of this kind leaves waiting for ever, and who goes on without it.
#[tokio::test(start_paused = true)]
async fn a_dependency_that_will_not_come_is_told_at_once() {
    let (sim, clock) = engine();
    let broken = Behaviour { exits_after: Some(Duration::from_millis(100)), ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new("db:1"), broken));
    let table = [
        ("web", "  depends_on: {db: {condition: service_healthy}}\n", Some("db: it has failed")),
        ("after", "  depends_on: [web]\n", Some("web: it is not started, and has failed")),
        ("lost", "  depends_on: [nothing]\n", Some("nothing: it has no document")),
        ("shut", "  depends_on: [none]\n", Some("none: it is not started: none of it is wanted")),
        ("done", "  depends_on: {db: {condition: service_completed_successfully}}\n", Some("db: it has failed")),
        ("fond", "  depends_on: {db: {condition: service_healthy, required: false}}\n", None),
        ("free", "  depends_on: {nothing: {condition: service_started, required: false}}\n", None),
    ];
    let mut services = vec![("db", "db:1", "  restart: \"no\"\n"), ("none", "none:1", "  replicas: 0\n")];
    services.extend(table.iter().map(|(name, more, _)| (*name, "app:1", *more)));
    let running = Running::on(&sim, clock, StateDir::default(), None, None);
    running.wants(&services).await;
    for (name, _, why) in table {
        let Some(why) = why else {
            running.until(name, |status| convergence(status) == Convergence::Converged).await;
            continue;
        };
        let status = running.until(name, |status| convergence(status) == Convergence::Failed).await;
        let progressing = status.condition(ConditionType::Progressing).unwrap();
        assert_eq!(progressing.reason, Reason::DependencyFailed, "{progressing:?}");
        assert!(progressing.message.starts_with(why), "{progressing:?}");
    }
    // What comes after all lets them go on.
    let mut mended: Vec<_> = services.clone();
    mended[0] = ("db", "db:2", "");
    mended.retain(|(name, ..)| !matches!(*name, "lost" | "shut" | "done"));
    running.wants(&mended).await;
    running.all_converged(&mended).await;
    running.end().await;
}

/// The image of the new revision never comes, or its dependency never does: the one before is scaled and healed meanwhile.
#[tokio::test(start_paused = true)]
async fn what_runs_is_scaled_and_healed_while_a_new_revision_cannot_begin() {
    for (image, more) in [("web:2", ""), ("web:3", "  depends_on: {db: {condition: service_healthy}}\n")] {
        let (sim, clock) = engine();
        sim.with(|world, _| {
            for image in ["web:1", "web:3", "db:1"] {
                world.images.insert(ImageRef::new(image), Behaviour::default());
            }
            world.images.insert(ImageRef::new("db:1"), Behaviour { never_ready: true, ..Behaviour::default() });
            world.anything = None;
        });
        let running = Running::on(&sim, clock, StateDir::default(), None, None);
        let db =
            ("db", "db:1", "  healthcheck: {test: [CMD, ok], start_period: 1h}\n  rollout: {progress_deadline: 2h}\n");
        let one = [("web", "web:1", "  replicas: 2\n"), db];
        running.wants(&one).await;
        running.until("web", |status| convergence(status) == Convergence::Converged).await;
        let more = format!("  replicas: 4\n{more}");
        running.wants(&[("web", image, more.as_str()), db]).await;
        let status = running.until("web", |status| status.available == 4).await;
        assert!(status.instances.iter().all(|one| one.revision != status.revision), "{image}: {status:#?}");
        sim.with(|world, now| {
            let id = world.containers.named("shop-web-1").unwrap().replica.id.clone();
            world.kill(&id, 137, now);
        });
        running.until("web", |status| status.available == 3).await;
        running.until("web", |status| status.available == 4).await;
        running.end().await;
    }
}
