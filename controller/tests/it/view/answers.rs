//! What proxies see.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn proxies_see_what_serves_and_no_secret() {
    let Some(stand) = Stand::new().await else { return };
    let own = Some(stand.name.clone());
    let shown = stand.container("shown", own.as_deref(), true).await;
    let hidden = stand.container("hidden", own.as_deref(), true).await;
    let companion = stand.container("companion", own.as_deref(), false).await;
    let foreign = stand.container("foreign", None, true).await;
    stand.shows(&[&shown]);

    // Nothing is said before the controller has looked: a proxy keeps what it knew.
    let early = timeout(Duration::from_millis(700), stand.get("/containers/json")).await;
    assert!(early.is_err(), "{early:?}");
    stand.ready();
    let of_mine = |all: BTreeSet<String>| -> BTreeSet<String> {
        let mine = [&shown, &hidden, &companion, &foreign];
        all.into_iter().filter(|id| mine.contains(&id)).collect()
    };
    let both = BTreeSet::from([shown.clone(), foreign.clone()]);
    assert_eq!(of_mine(stand.listed("all=1").await), both);
    assert_eq!(stand.listed("limit=1").await.len(), 1, "the newest that is seen, stopped or not");
    let filters = format!("all=1&filters=%7B%22name%22%3A%5B%22{}-%22%5D%7D", stand.name);
    assert_eq!(stand.listed(&filters).await, both);

    let mut said = String::new();
    for (name, status) in [("shown", 200), ("foreign", 200), ("hidden", 404), ("companion", 404), ("nobody", 404)] {
        let (answered, body) = stand.get(&format!("/containers/{}-{name}/json", stand.name)).await;
        assert_eq!(answered, status, "{name}: {body}");
        if status == 404 {
            assert_eq!(body["message"], format!("No such container: {}-{name}", stand.name));
        }
        said += &body.to_string();
    }
    let (_, body) = stand.get(&format!("/v1.41/containers/{shown}/json")).await;
    assert_eq!(body["State"]["Health"]["Status"], "healthy", "the engine says starting: {body}");
    let variables = body["Config"]["Env"].to_string();
    assert!(variables.contains("TOKEN=***") && variables.contains("VIRTUAL_HOST=a.example"), "{variables}");
    assert_eq!(body["Config"]["Labels"]["traefik.enable"], "true");
    assert_eq!(body["Mounts"], serde_json::json!([]));

    let (status, bridge) = stand.get("/networks/bridge").await;
    assert_eq!(status, 200, "{bridge}");
    let inside = bridge["Containers"].to_string();
    assert!(!inside.contains(&hidden) && !inside.contains(&companion), "{inside}");
    for (target, wanted) in [
        ("/_ping", 200),
        ("/v1.24/version", 200),
        ("/info", 200),
        ("/networks", 200),
        ("/v1.41/containers/json?all=1", 200),
        ("/v1.41/containers/json?filters=x", 400),
        ("/v1.41/tasks", 503),
        ("/v1.999/containers/json", 400),
        ("/v1.41/images/json", 403),
        ("/v1.41/containers/a/logs?stdout=1", 403),
        ("/v1.41/containers/a/archive?path=/", 403),
        ("/volumes", 403),
    ] {
        let (status, body) = stand.get(target).await;
        assert_eq!(status, wanted, "{target}: {body}");
        assert!(status < 400 || body["message"].is_string(), "{target}: {body}");
        if status == 403 {
            let words = body["message"].as_str().unwrap();
            assert!(words.contains("composed") && words.contains("/containers/json"), "{words}");
        }
        said += &body.to_string();
    }
    assert!(!said.contains(CANARY), "{said}");

    // Reading methods only.
    for method in ["POST", "DELETE", "PUT"] {
        let mut stream = UnixStream::connect(&stand.socket).await.unwrap();
        let request = format!("{method} /containers/{shown}/json HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 403"), "{answer}");
    }
}

/// A filter, as a query has it.
fn filters(text: &str) -> String {
    format!("filters={}", text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>())
}

/// Guesses at what is masked, at hidden containers, and at when they were made.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_answers_nothing_about_what_is_hidden() {
    let Some(stand) = Stand::new().await else { return };
    let own = Some(stand.name.clone());
    let first = stand.container("first", None, true).await;
    let hidden = stand.container("hidden", own.as_deref(), true).await;
    let newest = stand.container("last", own.as_deref(), true).await;
    stand.shows(&[&newest]);
    stand.ready();
    let name = &stand.name;
    let list = async |filter: &str| {
        let (status, body) = stand.get(&format!("/v1.41/containers/json?all=1&{}", filters(filter))).await;
        let ids = body.as_array().into_iter().flatten().map(|one| one["Id"].as_str().unwrap().to_owned());
        let mine = ids.filter(|id| [&first, &hidden, &newest].contains(&id)).collect::<Vec<_>>();
        (status, mine, body["message"].as_str().unwrap_or_default().to_owned())
    };
    let both = vec![newest.clone(), first.clone()];
    // The engine itself knows of each of these: they are guesses that are right.
    for masked in [
        format!(r#"{{"label":["secret={CANARY}"]}}"#),
        r#"{"label":["secret"]}"#.to_owned(),
        format!(r#"{{"label":["dev.composed.instance={name}"]}}"#),
        format!(r#"{{"label":["dev.composed.service={name}/web"]}}"#),
        r#"{"label":{"dev.composed.instance":true}}"#.to_owned(),
    ] {
        assert_eq!(list(&masked).await, (200, vec![], String::new()), "{masked}");
    }
    let (status, _, words) = list(&format!(r#"{{"volume":["{name}-{CANARY}"]}}"#)).await;
    assert!(status == 403 && words.contains("does not show mounts"), "{words}");
    assert_eq!(list(r#"{"annotation":["a"]}"#).await.0, 400);
    // One that is hidden is as one that is not there.
    for key in ["before", "since"] {
        for gone in [&hidden, &format!("{name}-hidden"), &format!("{name}-nobody")] {
            let (status, _, words) = list(&format!(r#"{{"{key}":["{gone}"]}}"#)).await;
            assert_eq!((status, words), (404, format!("No such container: {gone}")));
        }
    }
    // What is shown can be asked for as before.
    for (filter, ids) in [
        (r#"{"label":["traefik.enable=true"]}"#.to_owned(), both.clone()),
        (format!(r#"{{"name":["{name}-"]}}"#), both.clone()),
        (format!(r#"{{"before":["{name}-last"]}}"#), vec![first.clone()]),
        (format!(r#"{{"since":["{first}"]}}"#), vec![newest.clone()]),
        (format!(r#"{{"ancestor":["{}"]}}"#, stand.run.image), both.clone()),
        (format!(r#"{{"ancestor":["{}"],"health":["healthy"]}}"#, stand.run.image), vec![newest.clone()]),
        (r#"{"network":["bridge"],"status":["running"]}"#.to_owned(), both.clone()),
    ] {
        assert_eq!(list(&filter).await, (200, ids, String::new()), "{filter}");
    }
    // What a container takes on disk is not asked of the engine.
    for target in [format!("/v1.41/containers/{newest}/json?size=1"), "/v1.41/containers/json?size=1".to_owned()] {
        let (status, body) = stand.get(&target).await;
        assert_eq!(status, 200, "{body}");
        assert!(!body.to_string().contains("SizeRootFs"), "{body}");
    }
    let text = stand.get(&format!("/v1.41/containers/{newest}/json")).await.1.to_string();
    assert!(text.contains("traefik.enable") && !text.contains("dev.composed."), "{text}");

    // Networks alike.
    let network = format!("{name}-net");
    let secret = format!("secret={CANARY}");
    docker(&["network", "create", "--label", &secret, "--label", "traefik.x=1", &network]).await.unwrap();
    docker(&["network", "connect", &network, &hidden]).await.unwrap();
    let net_list = async |filter: &str| {
        let (status, body) = stand.get(&format!("/v1.41/networks?{}", filters(filter))).await;
        (status, body.as_array().is_some_and(|all| all.iter().any(|one| one["Name"] == *network)))
    };
    assert_eq!(net_list(r#"{"label":["traefik.x=1"]}"#).await, (200, true));
    assert_eq!(net_list(&format!(r#"{{"name":["{network}"]}}"#)).await, (200, true));
    assert_eq!(net_list(&format!(r#"{{"label":["{secret}"]}}"#)).await, (200, false));
    assert_eq!(net_list(r#"{"dangling":["false"]}"#).await, (403, false));

    // And of events: those about the secret are never told, whatever is guessed.
    let since = Clock::system().now().as_second() - 60;
    let until = Clock::system().now().as_second() + 1;
    let heard = async |filter: &str| {
        let mut events = stand.events(&format!("since={since}&until={until}&{}", filters(filter))).await;
        let mut mine = 0;
        while let Some(line) = events.line().await {
            assert!(
                !line.contains(CANARY) && !line.contains("dev.composed.") && !line.contains("composed-lock-"),
                "{line}"
            );
            mine += usize::from(line.contains(&first) || line.contains(&newest));
        }
        mine
    };
    assert!(heard(r#"{"label":["traefik.enable=true"]}"#).await > 0);
    assert_eq!(heard(&format!(r#"{{"label":["{secret}"]}}"#)).await, 0);
    assert_eq!(heard(r#"{"label":["dev.composed.service"]}"#).await, 0);
    // Volumes are not shown at all: their names are what masked mounts hide, and those of composed hold what it locks by.
    let lock = format!("composed-lock-{name}");
    docker(&["volume", "create", "--label", &format!("dev.composed.key={CANARY}"), &lock]).await.unwrap();
    assert!(heard("").await > 0, "and no volume among them");
    for target in [format!("/volumes/{lock}"), "/volumes".to_owned(), "/v1.41/system/df".to_owned()] {
        let (status, body) = stand.get(&target).await;
        assert!(status == 403 && !body.to_string().contains(CANARY), "{body}");
    }
}
