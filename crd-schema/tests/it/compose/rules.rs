//! What the oracle cannot say: where things are, what is only noted, what is ours.

use std::collections::BTreeMap;

use crd_schema::compose::{Request, is_compose, load};
use crd_schema::{FailureAction, IntOrPercent, Object, Order};

use super::{Memory, one, request, said, services};

/// What Compose gives to the engine is `restart`; what only Swarm acts on is `restart_policy`.
#[test]
fn restart_policies_mean_what_they_say() {
    let table = [
        ("{max_attempts: 3}", None, Some(r#"{"max_attempts":3}"#)),
        ("{delay: 5s}", None, Some(r#"{"delay":"5s"}"#)),
        ("{condition: any, max_attempts: 3}", Some("always"), Some(r#"{"max_attempts":3}"#)),
        ("{condition: any}", Some("always"), None),
        ("{condition: none, delay: 5s, max_attempts: 3}", Some("no"), None),
        ("{condition: no}", Some("no"), None),
        ("{condition: on-failure}", Some("on-failure"), None),
        ("{condition: on-failure, max_attempts: 3}", Some("on-failure:3"), None),
        (
            "{condition: on-failure, max_attempts: 3, delay: 5s, window: 2m}",
            Some("on-failure:3"),
            Some(r#"{"delay":"5s","window":"2m"}"#),
        ),
    ];
    for (written, restart, rules) in table {
        let text =
            format!("services: {{web: {{image: web, restart: always, deploy: {{restart_policy: {written}}}}}}}\n");
        let loaded = one(&text).unwrap_or_else(|problems| panic!("{written}: {}", said(&problems)));
        let spec = &services(&loaded)["web"].spec;
        let shown = spec.restart_policy.map(|rules| serde_json::to_string(&rules).unwrap());
        assert_eq!(
            (spec.restart.map(|word| word.to_string()).as_deref(), shown.as_deref()),
            (restart, rules),
            "{written}"
        );
    }
}

#[test]
fn rollback_config_says_what_is_different() {
    let text = "services:\n  web:\n    image: web\n    deploy:\n      replicas: 4\n      \
        update_config: {parallelism: 1, order: start-first, failure_action: continue, max_failure_ratio: 0.25}\n      \
        rollback_config: {parallelism: 0, order: start-first, failure_action: pause, monitor: 1s}\n";
    let loaded = one(text).unwrap_or_else(|problems| panic!("{}", said(&problems)));
    let rollout = services(&loaded)["web"].spec.rollout.clone().unwrap();
    assert_eq!(rollout.failure_action, Some(FailureAction::Continue));
    assert_eq!(rollout.max_failure_ratio.as_ref().map(crd_schema::Decimal::as_str), Some("0.25"));
    let back = rollout.rollback.unwrap();
    assert_eq!((back.order, back.max_surge), (None, Some(IntOrPercent::Percent(100))));
    assert_eq!(back.min_ready, Some(crd_schema::ComposeDuration::from_secs(1)));
}

#[test]
fn each_object_knows_its_file_and_line() {
    let mut files = Memory::new(&[
        ("compose.yaml", "include: [sub/other.yaml]\nservices:\n  web: {image: web}\n"),
        ("compose.override.yaml", "services:\n  web: {tty: true}\n  late: {image: late}\n"),
        ("sub/other.yaml", "services:\n\n  db: {image: db}\n"),
    ]);
    let request = Request {
        files: vec!["compose.yaml".into(), "compose.override.yaml".into()],
        shown: "projects/shop".into(),
        ..request()
    };
    let loaded = load(&request, &mut files).unwrap();
    let places: BTreeMap<_, _> = loaded
        .objects
        .iter()
        .map(|located| match &located.object {
            Object::Service(service) => (service.metadata.name.clone(), format!("{}:{}", located.file, located.line)),
            Object::Project(project) => (format!("the project {}", project.metadata.name), String::new()),
        })
        .collect();
    let expected = [
        ("db", "projects/shop/sub/other.yaml:3"),
        ("late", "projects/shop/compose.override.yaml:3"),
        ("the project shop", ""),
        ("web", "projects/shop/compose.yaml:3"),
    ];
    assert_eq!(places, expected.map(|(name, place)| (name.to_owned(), place.to_owned())).into());
    assert_eq!(
        files.read.iter().map(String::as_str).collect::<Vec<_>>(),
        [".env", "compose.override.yaml", "compose.yaml", "sub/.env", "sub/other.yaml"]
    );
}

#[test]
fn a_problem_is_shown_in_the_file_that_has_it() {
    let mut files = Memory::new(&[
        ("compose.yaml", "services:\n  web:\n    extends: {file: base.yaml, service: web}\n"),
        ("base.yaml", "services:\n  web:\n    image: x\n    stop_grace_period: 10\n"),
    ]);
    let problems = load(&request(), &mut files).unwrap_err();
    let problem = &problems[0];
    assert_eq!((problem.file.as_str(), problem.line, problem.column), ("base.yaml", 4, 24), "{}", said(&problems));
    assert_eq!(problem.source_line.as_deref(), Some("    stop_grace_period: 10"));
    assert!(problem.message.starts_with("services.web.stop_grace_period:"), "{}", problem.message);
}

#[test]
fn a_value_of_a_variable_is_shown_as_it_was_written() {
    let mut files = Memory::new(&[
        (
            "compose.yaml",
            "services:\n  web:\n    image: x\n    stop_grace_period: ${SECRET}\n    restart: \"${SECRET}\"\n",
        ),
        (".env", "SECRET=hunter2\n"),
    ]);
    let problems = said(&load(&request(), &mut files).unwrap_err());
    assert!(problems.contains("`${SECRET}` is not a duration") && !problems.contains("hunter"), "{problems}");
    let mut files = Memory::new(&[
        ("compose.yaml", "services:\n  web:\n    image: x\n    ports: [\"${SECRET}:80:80\"]\n"),
        (".env", "SECRET=hunter2hunter\n"),
    ]);
    let problems = said(&load(&request(), &mut files).unwrap_err());
    assert!(problems.contains("`${SECRET}` is not an IP address") && !problems.contains("hunter"), "{problems}");
    let mut files = Memory::new(&[
        ("compose.yaml", "services:\n  web:\n    image: \"x:${SECRET}:1\"\n"),
        (".env", "SECRET=hunter2hunter\n"),
    ]);
    let problems = said(&load(&request(), &mut files).unwrap_err());
    assert!(problems.contains("more than one tag") && !problems.contains("hunter"), "{problems}");
    let mut files = Memory::new(&[("compose.yaml", "services: {web: {image: x}}"), (".env", "A=1\nB='hunter2\n")]);
    let problems = said(&load(&request(), &mut files).unwrap_err());
    assert!(problems.contains(".env:2:1") && !problems.contains("hunter"), "{problems}");
}

#[test]
fn a_variable_that_is_not_set_is_noted_once() {
    let loaded =
        one("services:\n  web:\n    image: x\n    domainname: d${TAG}\n    hostname: h${TAG}\n    user: ${NONE:-1}\n")
            .unwrap();
    let notes: Vec<_> = loaded.notes.iter().map(|note| (note.message.as_str(), note.line)).collect();
    assert_eq!(notes, [("the variable `TAG` is not set: it is empty", 4)]);
    let problems = said(&one("services:\n  web:\n    image: x:${TAG}\n").unwrap_err());
    assert!(problems.contains("there is no tag after `:`"), "an image without a tag is none: {problems}");
}

#[test]
fn only_the_project_s_own_variables_are_looked_at() {
    // PATH is set for this process, whoever runs it.
    assert!(std::env::var_os("PATH").is_some());
    let loaded = one("services: {web: {image: x, hostname: \"h${PATH:-none}\", environment: [PATH]}}").unwrap();
    let web = services(&loaded)["web"];
    assert_eq!(web.spec.hostname.as_deref(), Some("hnone"));
    assert!(web.spec.environment.is_empty());
    let mut files = Memory::new(&[("compose.yaml", "services: {web: {image: \"x:$TAG\"}}"), (".env", "TAG=file")]);
    let request = Request { variables: [("TAG".to_owned(), "flag".to_owned())].into(), ..request() };
    let loaded = load(&request, &mut files).unwrap();
    assert_eq!(services(&loaded)["web"].spec.image, "x:flag", "the command line wins over the file");
}

#[test]
fn update_config_becomes_the_rollout() {
    let text = "services:
  first: {image: x, deploy: {update_config: {parallelism: 2, order: start-first, delay: 10s, monitor: 5s, failure_action: pause}}}
  last: {image: x, deploy: {update_config: {parallelism: 2, order: stop-first}}}
  open: {image: x, deploy: {update_config: {parallelism: 0}}}
";
    let loaded = one(text).unwrap();
    let rules = |name: &str| services(&loaded)[name].spec.rollout.clone().unwrap();
    let first = rules("first");
    assert_eq!((first.order, first.max_surge), (Some(Order::StartFirst), Some(IntOrPercent::Int(2))));
    assert_eq!(first.min_ready.unwrap().to_string(), "10s");
    assert_eq!(first.failure_action, Some(FailureAction::Pause));
    assert_eq!((rules("last").max_unavailable, rules("last").max_surge), (Some(IntOrPercent::Int(2)), None));
    assert_eq!((rules("open").order, rules("open").max_surge), (None, Some(IntOrPercent::Percent(100))));
}

#[test]
fn configs_and_secrets_of_files_are_read_only_mounts() {
    let text = "services: {web: {image: x, secrets: [token], configs: [{source: c, target: /etc/c}]}}
secrets: {token: {file: ./t}}
configs: {c: {file: /etc/host.conf}}
";
    let loaded = one(text).unwrap();
    let mounts: Vec<_> = services(&loaded)["web"]
        .spec
        .volumes
        .iter()
        .map(|mount| (mount.source.as_deref().unwrap(), mount.target.as_str(), mount.read_only))
        .collect();
    assert_eq!(mounts, [("/etc/host.conf", "/etc/c", true), ("./t", "/run/secrets/token", true)]);
}

#[test]
fn a_compose_file_is_known_by_its_top() {
    for text in
        ["services:\n  web: {}", "version: '3'\nservices : {}", "include:\n- a.yaml", "# x\nname: x\n\nservices:\n"]
    {
        assert!(is_compose(text), "{text}");
    }
    for text in [
        "apiVersion: composed.dev/v1\nkind: Service",
        "scrape_configs:\n  services: x",
        "",
        "apiVersion: v1\nservices: x",
    ] {
        assert!(!is_compose(text), "{text}");
    }
}

#[test]
fn files_outside_are_refused_by_whoever_reads_them() {
    for text in [
        "services: {web: {extends: {file: ../base.yaml, service: web}}}",
        "include: [../other.yaml]",
        "services: {web: {image: x, env_file: [../x.env]}}",
        "services: {web: {image: x, label_file: [../x.labels]}}",
    ] {
        let problems = one(text).unwrap_err();
        assert!(problems[0].message.contains("it is outside the project directory"), "{}", said(&problems));
    }
}

#[test]
fn hooks_around_a_rollout_stand_under_our_own_key() {
    let with = |hooks: &str| {
        let text = format!("services:\n  web:\n    image: x\n    x-composed:\n      hooks: {hooks}\n");
        load(&request(), &mut Memory::new(&[("compose.yaml", &text)]))
    };
    let loaded = with("{pre_deploy: {command: /app migrate, timeout: 10m, on_interrupt: rerun}}").unwrap();
    let spec = loaded.objects.iter().find_map(|located| match &located.object {
        Object::Service(service) => Some(service.spec.clone()),
        Object::Project(_) => None,
    });
    let hook = spec.unwrap().hooks.unwrap().pre_deploy.unwrap();
    assert_eq!(hook.command.unwrap(), ["/app", "migrate"]);
    assert_eq!(hook.on_interrupt, Some(crd_schema::OnInterrupt::Rerun));
    let problems = with("{pre_deploy: {timeout: 10m}}").unwrap_err();
    assert_eq!((problems[0].line, problems[0].column), (5, 15), "{}", said(&problems));
    assert!(problems[0].message.contains("pre_deploy has no command"), "{}", said(&problems));
}
