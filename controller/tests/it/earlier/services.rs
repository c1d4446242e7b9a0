//! Services go on from where they were.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_rollout_goes_on_from_where_it_was() {
    for case in cases_of("rollout") {
        let played = Played::of(&case);
        let old = played.memory("web");
        let (one, two) = (old.revisions.history[0].revision.clone(), old.revisions.history[1].revision.clone());
        let withdrawn = old.replicas.draining.keys().next().unwrap().clone();
        let of = |revision: &Revision| {
            let of = |world: &mut World, _| {
                let all = world.containers.values().filter(|one| one.replica.revision == *revision);
                all.map(|one| one.replica.id.clone()).collect::<BTreeSet<_>>()
            };
            played.sim.with(of)
        };
        let (olds, news) = (of(&one), of(&two));
        assert!(!olds.is_empty() && !news.is_empty() && olds.contains(&withdrawn));

        let running = played.running();
        running.readings.send(played.reading()).await.unwrap();
        until(&running, "web", "the first look", |_| true).await;
        assert!(played.memory("web").replicas.draining.contains_key(&withdrawn), "it stays out of traffic");
        let status = until(&running, "web", "it goes on", |status| converged(status) && status.updated == 4).await;
        assert_eq!((status.revision.as_str(), status.generation, status.live), (two.as_str(), old.generation, 4));
        assert!(news.is_subset(&of(&two)), "the new ones stay");
        assert!(of(&one).is_empty(), "the old ones are gone: {:?}", played.log());
        let created = played.log().iter().filter(|line| line.starts_with("create ")).count();
        assert_eq!(created, 4 - news.len(), "{:?}", played.log());
        let (now, began) = (played.memory("web"), old.revisions.history[1].begun);
        assert_eq!((now.revisions.history[1].outcome, now.revisions.history[1].begun), (Outcome::Available, began));
        assert_eq!(now.revisions.history[0], old.revisions.history[0]);
        running.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_paused_stays_paused_until_it_is_resumed() {
    for case in cases_of("paused") {
        let played = Played::of(&case);
        let running = played.rests().await;
        for name in ["web", "api"] {
            let (status, memory) = (status(&running, name), played.memory(name));
            let paused = status.condition(ConditionType::Paused).unwrap();
            assert!(paused.status && paused.message.contains("composed resume"), "{name}: {paused:?}");
            assert!(memory.control.paused.is_some() && memory.revisions.history.len() == 2, "{name}: {memory:#?}");
        }
        for name in ["web", "api"] {
            let said =
                ask(&running, |answer| PendingCommand::Pause(Pause { service: service(name), on: false, answer }))
                    .await;
            assert!(said.contains("goes on"), "{said}");
        }
        for name in ["web", "api"] {
            let wanted = played.memory(name).revisions.history[1].revision.clone();
            let status = until(&running, name, "it goes on", converged).await;
            assert_eq!((status.revision.clone(), status.updated), (wanted, status.replicas));
        }
        running.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_failed_is_not_tried_again_until_its_document_changes() {
    for case in cases_of("failed") {
        let played = Played::of(&case);
        let (web, first, crash) = (played.memory("web"), played.memory("first"), played.memory("crash"));
        let trouble = crash.revisions.streak.unwrap();
        let running = played.running();
        running.readings.send(played.reading()).await.unwrap();
        let status_of_first = until(&running, "first", "the first look", |_| true).await;
        assert_eq!(convergence(&status_of_first), Convergence::Failed, "{status_of_first:#?}");
        assert_eq!(played.memory("first").revisions.failure, first.revisions.failure);
        until(&running, "crash", "the first look", |_| true).await;
        assert_eq!(played.memory("crash").revisions.streak, Some(trouble), "it goes on counting");
        // Those two are tried again, as there is nothing to go back to; here they do better.
        until(&running, "crash", "it goes on", converged).await;
        tokio::time::sleep(Duration::from_mins(5)).await;
        assert!(played.log().iter().all(|line| !line.contains("-web-")), "{:?}", played.log());

        let good = web.revisions.history[0].revision.clone();
        let back = status(&running, "web");
        assert_eq!(reason(&back, ConditionType::Progressing), Some(Reason::RolledBack), "{back:#?}");
        let serving: Vec<_> = back.instances.iter().filter(|one| one.phase == ReplicaPhase::Available).collect();
        assert!(
            serving.len() == 2 && serving.iter().all(|one| one.revision == good && played.before.contains(&one.id))
        );
        assert_eq!(played.memory("web").revisions.failure, web.revisions.failure);
        assert_eq!(played.memory("web").revisions.history, web.revisions.history);

        played.write("web.yaml", |text| text.replace("HEALTH: never", "HEALTH: ok"));
        running.readings.send(played.reading()).await.unwrap();
        let healed = until(&running, "web", "another document is tried", converged).await;
        assert_eq!(healed.generation, web.generation + 1);
        running.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_adopted_stays_ours_and_goes_with_its_document() {
    for case in cases_of("adopted") {
        let played = Played::of(&case);
        let adopted: BTreeSet<_> = ["web", "db"].map(service).into();
        assert_eq!(played.state.adopted(), adopted, "the worker was replaced");
        let running = played.rests().await;
        for name in ["web", "db", "worker"] {
            let (status, memory) = (status(&running, name), played.memory(name));
            assert!(converged(&status), "{status:#?}");
            assert!(status.instances.iter().all(|one| played.before.contains(&one.id)), "{status:#?}");
            assert_eq!(memory.replicas.adopted.is_empty(), name == "worker");
        }
        // A file of variables that is empty now is missed, as it is known that it held some.
        std::fs::write(played.dir.path().join("desired/.env"), "").unwrap();
        running.readings.send(played.reading()).await.unwrap();
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(played.log(), Vec::<String>::new(), "{:?}", running.statuses.health().problems);
        std::fs::write(played.dir.path().join("desired/.env"), "COLOUR=blue\n").unwrap();

        // What is taken out of the file goes, though its container says that Compose made it; what changes is replaced.
        played.write("compose.yaml", |text| {
            let (before, after) = (text.find("  db:").unwrap(), text.find("volumes: {data").unwrap());
            let text = format!("{}{}", &text[..before], &text[after..]);
            text.replace("    depends_on: [db]\n", "").replace("${COLOUR}", "green")
        });
        running.readings.send(played.reading()).await.unwrap();
        let status = until(&running, "web", "it is replaced", |status| {
            converged(status) && status.instances.iter().all(|one| !played.before.contains(&one.id))
        });
        assert_eq!(status.await.generation, 2);
        tokio::time::sleep(LONG).await;
        let left = played.sim.with(|world, _| world.containers.of(&service("db")).count());
        assert_eq!(left, 0, "{:?}\n{:#?}", played.log(), running.statuses.events());
        running.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_undoings_and_rollouts_by_hand_are_known() {
    for case in cases_of("hooks") {
        let played = Played::of(&case);
        let olds = ["web", "api", "old"].map(|name| played.memory(name));
        let (running, done) = played.acts_on(played.reading()).await;
        // What was undone is no failure any more, and nothing is kept of it as such.
        assert!(matches!(done.as_slice(), [removed] if removed.contains("remove earlier-old-failed")), "{done:?}");
        let [web, api, old] = ["web", "api", "old"].map(|name| (status(&running, name), played.memory(name)));
        for ((_, now), before) in [&web, &api, &old].into_iter().zip(&olds) {
            assert_eq!(
                (&now.revisions.history, &now.control.manual_rollout, &now.replicas.post_start),
                (&before.revisions.history, &before.control.manual_rollout, &before.replicas.post_start)
            );
        }
        let hook = |memory: &ServiceRecord, revision: usize, kind: HookKind| {
            let record = &memory.revisions.history[revision];
            let hook = if kind == HookKind::PreDeploy { &record.pre_deploy } else { &record.post_deploy };
            hook.as_ref().map(|hook| hook.state)
        };
        let failed = olds[0].revisions.history.iter().rposition(|record| record.post_deploy.is_some()).unwrap();
        assert_eq!(hook(&web.1, failed, HookKind::PostDeploy), Some(HookState::Failed));
        assert_eq!(reason(&api.0, ConditionType::Progressing), Some(Reason::PreDeployFailed));
        assert_eq!(hook(&api.1, 1, HookKind::PreDeploy), Some(HookState::Failed));
        assert_eq!(reason(&old.0, ConditionType::Progressing), Some(Reason::Undone));
        let (revisions, before) = (&old.1.revisions, &olds[2].revisions);
        assert!(revisions.failure.is_none() && revisions.undone.is_some() && revisions.undone == before.undone);
        let undone = old.0.condition(ConditionType::Progressing).unwrap();
        assert!(undone.message.contains("undone by hand"), "{undone:?}");
        assert!(web.0.revision.as_str().ends_with("-1"), "{}", web.0.revision);

        let order = |answer| {
            PendingCommand::RollOut(RollOut { service: service("web"), options: RolloutOptions::default(), answer })
        };
        ask(&running, order).await;
        let again = until(&running, "web", "it is rolled out once more", |status| {
            converged(status) && status.instances.iter().all(|one| !played.before.contains(&one.id))
        });
        assert!(again.await.revision.as_str().ends_with("-2"));
        running.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_keep_changing_is_still_left_alone_and_every_key_is_still_the_same() {
    for case in cases_of("others") {
        let played = Played::of(&case);
        let deeds = played.memory("web").external_changes;
        let running = played.running();
        running.readings.send(played.reading()).await.unwrap();
        let web = until(&running, "web", "the first look", |_| true).await;
        let contended = web.condition(ConditionType::Contended).unwrap_or_else(|| panic!("{web:#?}"));
        assert!(contended.status && contended.message.contains("removed"), "{contended:?}");
        assert_eq!(played.memory("web").external_changes, deeds);
        assert_eq!(played.log(), Vec::<String>::new(), "{:#?}", running.statuses.all());
        until(&running, "web", "that ends", |status| converged(status) && status.live == 2).await;
        let every = until(&running, "every", "it is as it was", converged).await;
        assert!(every.instances.iter().all(|one| played.before.contains(&one.id)), "{every:#?}");
        let log = played.log();
        assert!(log.iter().all(|line| !line.contains("-every-")), "{log:?}");
        running.end().await;
    }
}
