//! Figures, and what Docker Compose sees.

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo test -p composed --test it -- --ignored --nocapture fifty"]
async fn fifty_running_containers_are_observed_quickly() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    for number in 1..=50 {
        // Without its healthcheck, which would run 250 times a second.
        let mut print = print(&stage, Kind::Serves, number);
        Arc::make_mut(&mut print.spec).healthcheck = None;
        apply(&stage, Verb::Create(Box::new(print))).await.expect("create");
    }
    for made in replicas(&stage).await {
        apply(&stage, Verb::Start(Target { id: made.id, name: made.name })).await.expect("start");
    }
    let one = ObserveRequest { services: Some([].into()), ..ObserveRequest::default() };
    for (name, scope) in [("all of 50", ObserveRequest::default()), ("none of 50", one)] {
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..20 {
            let begin = tokio::time::Instant::now();
            engine::observe_once(stage.engine(), &scope).await.expect("observe");
            times.push(begin.elapsed());
        }
        times.sort();
        println!("observe {name}: median {:?}, worst {:?}", times[10], times[19]);
    }
    // Watching, with nothing to see: the cost of waiting.
    let mut keys = stage.engine().watch();
    let (before, begin) = (processor_time(), tokio::time::Instant::now());
    drop(tokio::time::timeout(Duration::from_secs(30), async { while keys.next().await.is_some() {} }).await);
    println!("watching for {:?} took {:?} of processor time", begin.elapsed(), processor_time().saturating_sub(before));
}

/// What this process has used so far. Source: proc(5), `stat`, fields 14 and 15, in hundredths of a second.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    let (_, rest) = stat.rsplit_once(')').expect("a command");
    let ticks = rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Compose: COMPOSE=/path/to/docker-compose cargo test -p composed --test it -- --ignored compose"]
async fn compose_sees_our_replicas() {
    let Some(run) = Run::begin().await else { return };
    let compose = std::env::var("COMPOSE").expect("COMPOSE=/path/to/docker-compose");
    let stage = run.stage(0).await;
    for number in 1..=2 {
        let target = started(&stage, Kind::Serves, number).await;
        until(&stage, &target, "running", |replica| replica.state == State::Running).await;
    }
    let ask = async |words: &[&str]| {
        let mut all = vec!["-p", stage.project()];
        all.extend(words);
        let output = tokio::process::Command::new(&compose).args(&all).output().await.expect("compose");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let list = ask(&["ps", "--format", "{{.Name}} {{.Service}} {{.State}}"]).await;
    let mut lines: Vec<_> = list.lines().map(str::to_owned).collect();
    lines.sort();
    let line = |number: u32| format!("{} web running", web(&stage).container(number));
    assert_eq!(lines, [line(1), line(2)]);
    ask(&["logs", "web"]).await;
    ask(&["exec", "-T", "--index", "2", "web", "/composed", "demo-app", "check"]).await;
    assert!(ask(&["ls", "-a"]).await.contains(stage.project()));
}
