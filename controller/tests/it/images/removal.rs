//! Images that nothing needs any more are removed.

use super::*;

/// The images here that were pulled, without what runs now.
fn here(sim: &Sim) -> BTreeSet<ImageRef> {
    sim.with(|world, _| world.images.keys().cloned().collect())
}

fn names(names: &[&str]) -> BTreeSet<ImageRef> {
    names.iter().map(|name| ImageRef::new(*name)).collect()
}

#[tokio::test(start_paused = true)]
async fn images_that_were_fetched_and_are_older_than_what_is_kept_go() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    // This one was here before: somebody else brought it.
    sim.with(|world, _| world.images.insert(ImageRef::new("web:1"), Behaviour::default()));
    let mut running = Running::on(&sim, clock, state.clone());
    for version in ["web:1", "web:2", "web:3", "web:4"] {
        running.wants(version, "").await;
        running.converged(version).await;
    }
    for_a_while().await;
    assert_eq!(here(&sim), names(&["web:1", "web:2", "web:3", "web:4"]), "two are kept beside the present one");
    running.end().await;
    // What was fetched is known over a restart.
    running = Running::on(&sim, clock, state);
    running.wants("web:5", "").await;
    running.converged("web:5").await;
    for_a_while().await;
    assert_eq!(here(&sim), names(&["web:1", "web:3", "web:4", "web:5"]));
    running.wants("web:5", "  update: {image_history: 0}\n").await;
    running.converged("web:5").await;
    for_a_while().await;
    // The last one that was available is gone back to if this one fails.
    assert_eq!(here(&sim), names(&["web:1", "web:4", "web:5"]));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_another_service_has_or_goes_back_to_stays() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let both = |web: &str, api: &str| {
        let document = |name: &str, image: &str| {
            format!(
                "---\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\nspec: {{image: {image}, update: {{image_history: 0}}}}\n"
            )
        };
        let files =
            vec![("all.yaml".to_owned(), Ok((document("web", web) + &document("api", api)).into_bytes().into()))];
        Reading { files, ..Reading::default() }
    };
    for (web, api) in
        [("app:1", "app:1"), ("app:1", "app:2"), ("app:3", "app:2"), ("app:4", "app:2"), ("app:5", "app:2")]
    {
        running.readings.send(both(web, api)).await.unwrap();
        running.converged(web).await;
        for_a_while().await;
    }
    // Nothing is made of the first one any more, but api would go back to it; 3 was web's alone.
    assert_eq!(here(&sim), names(&["app:1", "app:2", "app:4", "app:5"]));
    running.end().await;
}
