//! What repositories and registries said, and what is to be told.

use super::*;

/// The repository that was followed; it is away.
fn repository() -> GitSource {
    GitSource {
        name: "desired".to_owned(),
        address: Address::parse(&format!("{ROOM}/git/desired.git")).unwrap(),
        follow: Follow::parse("main").unwrap(),
        path: "deploy".to_owned(),
        interval: Duration::from_secs(5),
        access: Access::default(),
        signed: Signed::default(),
        allow_rewrite: false,
        host_root: None,
        host_name: HostName::Is("box".to_owned()),
        compose: ComposeOptions::default(),
        write_back: Some(WriteBack::new(Access::default(), Some("Bot <bot@shop.example>")).unwrap()),
    }
}

#[tokio::test]
async fn the_last_good_commit_stays_in_force_and_what_it_has_brought_stays_as_it_is() {
    if !git_is_here() {
        return;
    }
    for case in cases_of("git") {
        let played = Played::of(&case);
        let git = played.dir.path().join("state/git");
        let kept = || files(&git).into_iter().filter(|file| file.ends_with("kept.json")).collect::<Vec<_>>();
        let (before, file) = (kept(), git.join(&kept()[0]));
        let old = json(&file);
        std::fs::File::open(&file).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();

        let (send, mut readings) = mpsc::channel(1);
        let sources = vec![(repository(), Arc::new(Notify::new()))];
        let task = tokio::spawn(watch(sources, git.clone(), Arc::default(), send));
        // First what was kept, whatever has become of the repository.
        let reading = tokio::time::timeout(Duration::from_secs(30), readings.recv()).await.unwrap().unwrap();
        drop(readings);
        task.await.unwrap();
        assert_eq!(kept(), before, "it is looked for where it was");
        assert!(std::fs::metadata(&file).unwrap().modified().unwrap() > std::time::SystemTime::UNIX_EPOCH, "saved");
        assert_kept(&old, &json(&file), "kept.json");
        assert_eq!(reading.unread, None);
        let commit = &reading.origins["desired"].commit;
        assert_eq!(
            (commit.id.as_str(), commit.author.as_str()),
            (old["commit"]["id"].as_str().unwrap(), "Bot <bot@shop.example>")
        );

        tokio::time::pause();
        let running = played.rests_on(Reading { refused: Vec::new(), ..reading }).await;
        for name in ["web", "app", "api"] {
            let (status, memory) = (status(&running, name), played.memory(name));
            assert!(converged(&status), "{status:#?}");
            let asked = &old["asked"][format!("earlier/{name}")]["commit"]["id"];
            assert_eq!(status.commit.as_ref().map(|commit| commit.id.as_str()), asked.as_str(), "who asked for {name}");
            assert!(memory.revisions.history.iter().all(|record| record.commit.is_some()), "{memory:#?}");
        }
        running.end().await;
    }
}

/// A registry that says the same as it did.
struct Same;

impl RegistryClient for Same {
    fn digest<'a>(&'a self, _image: &'a Reference) -> BoxFuture<'a, Result<ImageDigest, RegistryError>> {
        std::future::ready(Err(RegistryError::Away("it is away".to_owned()))).boxed()
    }

    fn platforms<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a ImageDigest,
    ) -> BoxFuture<'a, Result<Platforms, RegistryError>> {
        std::future::ready(Ok(Platforms::new())).boxed()
    }

    fn tags<'a>(&'a self, _image: &'a Reference) -> BoxFuture<'a, Result<Vec<String>, RegistryError>> {
        std::future::ready(Ok(vec!["1.0.0".to_owned(), "1.1.0".to_owned()])).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn what_registries_said_is_known() {
    for case in cases_of("git") {
        let dir = tempfile::tempdir().unwrap();
        copy(&case.join("state"), dir.path(), &|_, text| text);
        let file = dir.path().join("images.json");
        let old = json(&file);
        let (statuses, clock) = (Arc::new(StatusStore::default()), Clock::system());
        let images = RegistryImages::new(Arc::new(Same), Arc::clone(&statuses), clock, Some(file.clone()));
        let asked = old["images"].as_object().unwrap().keys().map(|key| {
            let (image, range) =
                key.split_once(' ').map_or((key.as_str(), None), |(image, range)| (image, Some(range)));
            let image = Reference::parse(&ImageRef::new(image)).unwrap();
            (key, range.map_or(ImageQuery::Digest(image.clone()), |range| ImageQuery::Highest(image, range.to_owned())))
        });
        let asked: Vec<_> = asked.collect();
        assert!(asked.len() >= 3, "{asked:?}");
        for (key, question) in &asked {
            let known = serde_json::to_value(images.known(question)).unwrap();
            assert_kept(&old["images"][*key], &known, key);
        }
        images.follow(asked.iter().map(|(_, question)| (question.clone(), QueryOptions::default())).collect());
        std::fs::remove_file(&file).unwrap();
        let task = tokio::spawn(Arc::clone(&images).run());
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        task.abort();
        // It was asked anew since: when, and that the registry is away for some.
        let mut again = json(&file);
        let mut old = old;
        for all in [&mut again, &mut old] {
            for one in all["images"].as_object_mut().unwrap().values_mut() {
                one.as_object_mut()
                    .unwrap()
                    .retain(|key, _| !["checked_at", "next_at", "problem"].contains(&key.as_str()));
            }
        }
        assert_kept(&old, &again, "images.json");
        assert_silent(&StateDir::default(), dir.path());
    }
}

/// Takes what it is given, and never says that it has arrived.
#[derive(Default)]
struct Hangs(Mutex<Vec<String>>);

impl Send for Hangs {
    fn send<'a>(&'a self, _: &'a NotificationTarget, message: &'a Message) -> BoxFuture<'a, Result<(), Failure>> {
        self.0.lock().unwrap().push(message.body.clone());
        std::future::pending().boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_to_be_told_is_still_to_be_told_and_what_was_told_is_not_told_again() {
    for case in cases_of("git") {
        let dir = tempfile::tempdir().unwrap();
        copy(&case.join("state"), dir.path(), &|_, text| text);
        let file = dir.path().join("notify.json");
        let old = json(&file);
        let sender = Arc::new(Hangs::default());
        let settings: NotifySettings =
            serde_json::from_value(serde_json::json!({"name": "away", "url": "http://127.0.0.1:1/"})).unwrap();
        let target = NotificationTarget::of(&settings, Path::new("")).unwrap();
        let send = Arc::clone(&sender) as Arc<dyn Send>;
        let notifier =
            Notifier::new(vec![target], "box".to_owned(), send, Arc::default(), Clock::system(), Some(file.clone()));
        let first: Notification = serde_json::from_value(old["jobs"][0]["notice"].clone()).unwrap();
        assert!(notifier.knows(&first), "it was taken");
        notifier.take(&first);
        notifier.take(&Notification { id: "new".to_owned(), ..first.clone() });
        let task = tokio::spawn(Arc::clone(&notifier).run());
        while sender.0.lock().unwrap().is_empty()
            || !notifier.knows(&Notification { id: "new".to_owned(), ..first.clone() })
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        task.abort();
        let new = json(&file);
        assert_kept(&old, &new, "notify.json");
        let count = |json: &Value| json["told"].as_array().unwrap().len();
        assert_eq!(count(&new), count(&old) + 1, "what is known is not taken again");
        assert!(sender.0.lock().unwrap()[0].contains(first.revision.as_str()), "the oldest one first");
        assert_silent(&StateDir::default(), dir.path());
    }
}
