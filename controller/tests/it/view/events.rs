//! What proxies hear, and what is known of what they have read.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn proxies_hear_what_they_see_in_order() {
    let Some(stand) = Stand::new().await else { return };
    let own = Some(stand.name.clone());
    let a = stand.container("a", own.as_deref(), true).await;
    let b = stand.container("b", own.as_deref(), true).await;
    let foreign = stand.container("f", None, true).await;
    stand.shows(&[&a]);
    stand.ready();
    let ids = [a.as_str(), b.as_str(), foreign.as_str()];
    let mut all = stand.events("").await;
    let mut few = stand.events("filters=%7B%22event%22%3A%7B%22die%22%3Atrue%7D%7D").await;
    let is = |action: &str, nth: usize| (action.to_owned(), nth);
    stand.shows(&[&a, &b]);
    let mut heard = vec![all.next(&ids).await];
    // What was shown before somebody came may be said once more.
    while heard.last() != Some(&is("start", 1)) {
        heard.push(all.next(&ids).await);
        assert!(heard.iter().all(|(action, _)| action != "die"), "{heard:?}");
    }
    assert!(stand.listed("all=1").await.contains(&b), "who hears of it sees it");
    stand.shows(&[&b]);
    let mut heard = vec![all.next(&ids).await];
    while heard.last() != Some(&is("die", 0)) {
        heard.push(all.next(&ids).await);
    }
    // The engine's own starts may have come late, which is one more.
    assert!(heard.iter().all(|one| one.1 != 0 || *one == is("die", 0)), "{heard:?}");
    assert!(!stand.listed("all=1").await.contains(&a));
    // Its real end was told already; another's is told once, by the engine.
    docker(&["rm", "-f", &a]).await.unwrap();
    docker(&["kill", &b]).await.unwrap();
    assert_eq!(all.next(&ids[..2]).await, is("kill", 1));
    assert_eq!(all.next(&ids[..2]).await, is("die", 1));
    stand.shows(&[]);
    docker(&["kill", &foreign]).await.unwrap();
    let mut heard = Vec::new();
    while heard.last() != Some(&is("die", 2)) {
        heard.push(all.next(&ids).await);
    }
    assert!(heard.iter().all(|(_, nth)| *nth == 2), "of the others everything was said: {heard:?}");
    for nth in [0, 1, 2] {
        assert_eq!(few.next(&ids).await, is("die", nth));
    }
    // And once more to whoever asks for the past.
    let since = Clock::system().now().as_second() - 60;
    let until = Clock::system().now().as_second() + 1;
    let mut past =
        stand.events(&format!("since={since}&until={until}&filters=%7B%22event%22%3A%5B%22die%22%5D%7D")).await;
    let mut died = BTreeSet::new();
    while let Some(line) = past.line().await {
        died.insert(serde_json::from_str::<Value>(&line).unwrap()["id"].as_str().unwrap().to_owned());
    }
    assert!(died.contains(&a) && died.contains(&foreign), "{died:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_has_read_is_known() {
    let Some(stand) = Stand::new().await else { return };
    let own = Some(stand.name.clone());
    let a = stand.container("a", own.as_deref(), true).await;
    stand.ready();
    let replica = replica(&a, None);
    let propagation = |serves: bool| {
        let shown = stand.statuses.shown(&stand.service(), &ContainerId::new(a.as_str()));
        stand.view.propagation(&stand.service(), &replica, serves, shown)
    };
    assert_eq!(propagation(true), PropagationState::Unused, "nobody is there");
    // A proxy: it lists, then it listens.
    assert!(!stand.listed("").await.contains(&a));
    stand.shows(&[&a]);
    let mut events = stand.events("").await;
    // It has missed the change between; it is told now.
    assert_eq!(events.next(&[&a]).await.0, "start");
    let pending = |propagation: &PropagationState| matches!(propagation, PropagationState::Pending { .. });
    assert!(pending(&propagation(true)), "it has not listed since");
    assert!(stand.listed("").await.contains(&a));
    assert_eq!(propagation(true), PropagationState::Settled, "it knows of it");
    stand.shows(&[]);
    assert!(pending(&propagation(false)), "it has not listed since");
    assert!(!stand.listed("").await.contains(&a));
    let PropagationState::Pending { until, .. } = propagation(false) else {
        panic!("it takes its time to have it in force")
    };
    assert!(until < Instant::now() + Duration::from_secs(6), "{:?}", until - Instant::now());
    tokio::time::sleep_until(until).await;
    // Others may still be on their way back after the start of this controller, a few seconds ago.
    while let PropagationState::Pending { until, what } = propagation(false) {
        assert!(what.contains("come back"), "{what}");
        tokio::time::sleep_until(until).await;
    }
    assert_eq!(propagation(false), PropagationState::Settled);
    // Others' labels concern no proxy.
    let other = stand.run.image.clone();
    let label = format!("dev.composed.instance={}", stand.name);
    let plain = docker(&["run", "-d", "--name", &format!("{}-plain", stand.name), "--label", &label, &other]).await;
    let plain = crate::monitor::replica(&plain.unwrap(), None);
    let unused = || stand.view.propagation(&stand.service(), &plain, true, None) == PropagationState::Unused;
    for _ in 0..100 {
        if unused() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // The pace of looking.
    }
    assert!(unused(), "it is looked at when it is created");
}
