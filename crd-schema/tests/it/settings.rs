//! The settings file.

use crd_schema::settings::{VerifySetting, WebhookProvider, parse_settings};

#[test]
fn a_settings_file_is_read_by_the_rules_of_documents() {
    let text = "sources:\n  - git: https://git.example/team/shop.git\n    ref: semver:~1\n    interval: 5m\n    verify: tag\n    \
                webhook: {provider: forgejo, secret_file: hook}\nwebhooks: {listen: \"127.0.0.1:9798\"}\nx-note: ours\n";
    let settings = parse_settings("composed.yaml", text.as_bytes()).unwrap();
    let source = &settings.sources[0];
    assert_eq!(source.reference.as_deref(), Some("semver:~1"));
    assert_eq!(source.verify, Some(VerifySetting::Tag));
    assert_eq!(source.webhook.as_ref().unwrap().provider, WebhookProvider::Forgejo);
    assert_eq!(settings.webhooks.unwrap().listen, "127.0.0.1:9798");
}

#[test]
fn mistakes_have_places_and_lines_are_not_shown() {
    let read = |text: &str| {
        let problems = parse_settings("composed.yaml", text.as_bytes()).unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let text = read("sources:\n  - git: x\n    token: hunter2\n    verify: heads\n");
    assert!(text.contains("unknown key `token`") && text.contains("composed.yaml:3:5"), "{text}");
    assert!(text.contains("composed.yaml:4:13") && text.contains("`head`") && !text.contains("hunter2"), "{text}");
    assert!(read("sources:\n  - ref: main\n").contains("`git` is missing"));
    assert!(read("").contains("one document"));
    assert!(read("sources: []\n---\nsources: []\n").contains("one document"));
}
