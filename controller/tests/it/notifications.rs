//! Who is told: against a server on loopback, for better and for worse.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use composed_core::model::{Notification, NotificationKind, ServiceName};
use composed_platform::clock::Clock;
use composed_status::notifications::{HttpSender, NotificationTarget, Notifier, message};
use composed_status::store::StatusStore;
use crd_schema::settings::{NotifyFormat, NotifyOn, NotifySettings};
use crd_schema::status::CommitStatus;
use crd_schema::{ImageRef, Revision};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const LONG: Duration = Duration::from_secs(30);

type Texts = Arc<Mutex<Vec<String>>>;

/// A receiver that answers with these statuses, then with 200.
async fn receiver(statuses: &'static [&'static str]) -> (u16, Texts) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let texts = Texts::default();
    let seen = Arc::clone(&texts);
    tokio::spawn(async move {
        let mut statuses = statuses.iter();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            loop {
                let mut piece = vec![0; 8192];
                let length = stream.read(&mut piece).await.unwrap_or_default();
                text += &String::from_utf8_lossy(&piece[..length]);
                let wanted = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                let wanted: usize = wanted.and_then(|wanted| wanted.trim().parse().ok()).unwrap_or_default();
                if length == 0 || text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= wanted) {
                    break;
                }
            }
            seen.lock().unwrap().push(text);
            let status = statuses.next().unwrap_or(&"200 OK");
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    (port, texts)
}

fn notice(event: NotificationKind) -> Notification {
    let notice = Notification {
        id: String::new(),
        event,
        project: String::new(),
        service: String::new(),
        revision: Revision::new("0b71826a44"),
        generation: 3,
        image: ImageRef::new("shop/web:2"),
        commit: Some(CommitStatus {
            repository: "shop".to_owned(),
            id: "9a4be1f05d23cc1c1f5d0b7b0b1b2b3b4b5b6b7b".to_owned(),
            author: "Ann <ann@shop.example>".to_owned(),
            subject: "Ping @everyone & <!channel>\u{1b}[31m".to_owned(),
            at: "2026-01-01T11:59:00Z".parse().unwrap(),
        }),
        goes_on: (event == NotificationKind::Failed).then(|| Revision::new("aaaaaaaaaa")),
        message: if event == NotificationKind::Deployed {
            String::new()
        } else {
            "pre_deploy ended with code 3".to_owned()
        },
        seconds: Some(42),
        at: "2026-01-01T12:00:00Z".parse().unwrap(),
    };
    notice.of(&ServiceName::new("shop", "web"))
}

fn to(port: u16) -> NotifySettings {
    NotifySettings { url: Some(format!("http://127.0.0.1:{port}/hook?key=hunter2")), ..NotifySettings::default() }
}

fn target(settings: &NotifySettings) -> NotificationTarget {
    NotificationTarget::of(settings, std::path::Path::new("")).unwrap()
}

fn notifier(targets: Vec<NotificationTarget>, file: Option<&std::path::Path>) -> Arc<Notifier> {
    let (statuses, clock) = (Arc::new(StatusStore::default()), Clock::system());
    Notifier::new(targets, "host-a".to_owned(), Arc::new(HttpSender), statuses, clock, file.map(Into::into))
}

async fn arrive(texts: &Texts, count: usize) -> Vec<String> {
    let wait = tokio::time::timeout(LONG, async {
        loop {
            let all = texts.lock().unwrap().clone();
            if all.len() >= count {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(5)).await; // The pace of looking.
        }
    });
    wait.await.unwrap_or_else(|_| panic!("{count} are awaited: {:?}", texts.lock().unwrap()))
}

#[test]
fn the_words_are_as_each_receiver_takes_them() {
    let mut text = String::new();
    let formats =
        [NotifyFormat::Json, NotifyFormat::Slack, NotifyFormat::Discord, NotifyFormat::Ntfy, NotifyFormat::Gotify];
    for format in formats {
        for event in [NotificationKind::Deployed, NotificationKind::Failed] {
            let message = message(format, &notice(event), "host-a");
            text += &format!("{format:?} {event}: POST {}\n", message.path);
            for (name, value) in &message.headers {
                text += &format!("{name}: {value}\n");
            }
            text += &format!("{}\n\n", message.body);
        }
    }
    assert!(!text.contains('\u{1b}') && !text.contains("<!channel>\\n"), "{text}");
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden-notifications.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), text);
}

/// What others have written is a text to each receiver, and nothing that it does.
#[test]
fn what_others_write_is_a_text() {
    let hostile =
        "@everyone @here <!channel> <@U1> [a](http://evil.example) **b** `c` {{ env }} $(d)\u{1b}[31m\r\u{9b}";
    let mut notice = notice(NotificationKind::Failed);
    hostile.clone_into(&mut notice.message);
    notice.image = ImageRef::new(hostile);
    for format in
        [NotifyFormat::Json, NotifyFormat::Slack, NotifyFormat::Discord, NotifyFormat::Ntfy, NotifyFormat::Gotify]
    {
        let message = message(format, &notice, "host-a");
        // The first format is data: its receiver has each field as it was.
        let shown = if format == NotifyFormat::Json { "" } else { &message.body };
        assert!(!shown.contains(['\u{1b}', '\u{9b}', '\r']), "{format:?}: {shown}");
        for (name, value) in &message.headers {
            assert!(value.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{format:?} {name}: {value}");
        }
        let body: serde_json::Value = serde_json::from_str(&message.body).unwrap_or_default();
        let text = body["text"].as_str().or(body["content"].as_str()).unwrap_or_default();
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\r']), "{format:?}: {text}");
        match format {
            NotifyFormat::Slack => {
                assert!(!text.contains(['<', '>']) && text.contains("&lt;!channel&gt;"), "{text}");
                assert_eq!(body["link_names"], false);
            }
            NotifyFormat::Discord => {
                assert!(text.contains("\\@everyone") && text.contains("\\[a\\]\\("), "{text}");
                assert_eq!(body["allowed_mentions"], serde_json::json!({"parse": []}));
            }
            _ => {}
        }
    }
}

/// The address and the token of a receiver are for it alone.
#[tokio::test]
async fn a_redirection_is_not_followed() {
    let (elsewhere, there) = receiver(&[]).await;
    let answer = format!("307 Temporary Redirect\r\nlocation: http://127.0.0.1:{elsewhere}/");
    let answers: &'static [&'static str] = vec![&*answer.leak()].leak();
    let (port, texts) = receiver(answers).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notify.json");
    let notifier = notifier(vec![target(&to(port))], Some(&file));
    let runs = tokio::spawn(Arc::clone(&notifier).run());
    notifier.take(&notice(NotificationKind::Failed));
    arrive(&texts, 1).await;
    // It is given up: the next one is sent.
    notifier.take(&notice(NotificationKind::Deployed));
    arrive(&texts, 2).await;
    assert_eq!(there.lock().unwrap().len(), 0);
    runs.abort();
}

#[tokio::test]
async fn an_outcome_arrives_once_though_it_is_told_again_and_again() {
    let (port, texts) = receiver(&["503 Busy", "429 Slowly\r\nretry-after: 1"]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notify.json");
    let first = notifier(vec![target(&to(port))], Some(&file));
    let runs = tokio::spawn(Arc::clone(&first).run());
    let (good, bad) = (notice(NotificationKind::Deployed), notice(NotificationKind::Failed));
    for _ in 0..3 {
        first.take(&good);
    }
    let all = arrive(&texts, 3).await;
    assert!(all.iter().all(|text| text.starts_with("POST /hook?key=hunter2 ") && text.contains("\"deployed\"")));
    // After a restart it is known, too: once it is written down that the receiver has it.
    tokio::time::timeout(LONG, async {
        let is_sent = || {
            let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            kept["jobs"].as_array().unwrap().is_empty()
        };
        while !first.knows(&good) || !is_sent() {
            tokio::time::sleep(Duration::from_millis(5)).await; // The pace of looking.
        }
    })
    .await
    .unwrap();
    runs.abort();
    let again = notifier(vec![target(&to(port))], Some(&file));
    assert!(again.knows(&good) && !again.knows(&bad));
    let runs = tokio::spawn(Arc::clone(&again).run());
    again.take(&good);
    again.take(&bad);
    let all = arrive(&texts, 4).await;
    assert!(all[3].contains("\"failed\""), "{all:?}");
    tokio::time::sleep(Duration::from_millis(300)).await; // Nothing may come meanwhile.
    assert_eq!(texts.lock().unwrap().len(), 4);
    runs.abort();
}

#[tokio::test]
async fn what_was_not_told_is_told_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notify.json");
    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let first = notifier(vec![target(&to(address.port()))], Some(&file));
    let runs = tokio::spawn(Arc::clone(&first).run());
    let good = notice(NotificationKind::Deployed);
    first.take(&good);
    tokio::time::timeout(LONG, async {
        while !first.knows(&good) {
            tokio::time::sleep(Duration::from_millis(5)).await; // The pace of looking.
        }
    })
    .await
    .unwrap();
    runs.abort();
    drop(runs.await);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("hunter2"), "the address is not written down");
    let (port, texts) = receiver(&[]).await;
    let next = notifier(vec![target(&to(port))], Some(&file));
    let runs = tokio::spawn(Arc::clone(&next).run());
    arrive(&texts, 1).await;
    runs.abort();
}

#[tokio::test]
async fn one_that_is_away_holds_up_no_other_one_and_one_that_refuses_is_not_asked_again() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = gone.local_addr().unwrap().port();
    drop(gone);
    let (refusing, refused) = receiver(&["403 Forbidden"]).await;
    let (port, texts) = receiver(&[]).await;
    let named = |name: &str, port| target(&NotifySettings { name: Some(name.to_owned()), ..to(port) });
    let all = notifier(vec![named("away", away), named("refuses", refusing), named("listens", port)], None);
    let runs = tokio::spawn(Arc::clone(&all).run());
    all.take(&notice(NotificationKind::Deployed));
    all.take(&notice(NotificationKind::Failed));
    let told = arrive(&texts, 2).await;
    assert!(told[0].contains("\"deployed\"") && told[1].contains("\"failed\""), "in their order");
    let refused = arrive(&refused, 2).await;
    assert!(refused[0].contains("\"deployed\"") && refused[1].contains("\"failed\""), "the first is given up at once");
    runs.abort();
}

#[tokio::test]
async fn secrets_come_from_files_and_only_what_is_wanted_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (port, texts) = receiver(&[]).await;
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("url", &format!("http://127.0.0.1:{port}/\n"));
    write("token", "hunter2\n");
    let settings = NotifySettings {
        format: Some(NotifyFormat::Gotify),
        url_file: Some("url".to_owned()),
        token_file: Some("token".to_owned()),
        projects: vec!["sh*".to_owned()],
        on: vec![NotifyOn::Failed],
        ..NotifySettings::default()
    };
    let gotify = NotificationTarget::of(&settings, dir.path()).unwrap();
    assert!(!format!("{gotify:?}").contains("127.0.0.1"), "{gotify:?}");
    let other = NotifySettings { projects: vec!["other".to_owned()], ..to(port) };
    let all = notifier(vec![gotify, target(&other)], None);
    let runs = tokio::spawn(Arc::clone(&all).run());
    all.take(&notice(NotificationKind::Deployed));
    all.take(&notice(NotificationKind::Failed));
    let told = arrive(&texts, 1).await;
    assert!(told[0].starts_with("POST /message ") && told[0].contains("x-gotify-key: hunter2"), "{told:?}");
    tokio::time::sleep(Duration::from_millis(200)).await; // Nothing may come meanwhile.
    assert_eq!(texts.lock().unwrap().len(), 1);
    runs.abort();
}

#[test]
fn what_cannot_be_told_is_said_before_anything_begins() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad"), "ftp://hunter2@x/\n").unwrap();
    let why = |settings: NotifySettings| NotificationTarget::of(&settings, dir.path()).unwrap_err();
    let url = |url: &str| NotifySettings { url: Some(url.to_owned()), ..NotifySettings::default() };
    let file = |file: &str| NotifySettings { url_file: Some(file.to_owned()), ..NotifySettings::default() };
    for (settings, word) in [
        (NotifySettings::default(), "`url` or `url_file`"),
        (url("ftp://hunter2/"), "http://"),
        (url("https://a:hunter2@b/"), "without a password"),
        (file("none"), "cannot be read"),
        (file("bad"), "without a password"),
        (NotifySettings { format: Some(NotifyFormat::Slack), ..url("https://hooks.example/hunter2") }, "url_file"),
        (NotifySettings { format: Some(NotifyFormat::Gotify), ..url("https://gotify.example") }, "token_file"),
        (NotifySettings { token_file: Some("none".to_owned()), ..url("https://a.example") }, "cannot be read"),
    ] {
        let why = why(settings);
        assert!(why.contains(word) && !why.contains("hunter2"), "{word}: {why}");
    }
}
