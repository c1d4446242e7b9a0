//! All repositories as one reading.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use composed_status::store::StatusStore;
use futures_util::future::select_all;
use tokio::sync::{Notify, mpsc, watch as channel};

use super::follow::{FollowerRequests, follow};
use super::follower::RepositoryState;
use super::source::GitSource;
use super::write_back::watch_raises;
use crate::reading::Reading;

/// Follows repositories, and sends a reading of all of them now and whenever one of them changes. `dir` keeps their copies;
/// `nudges` ask for a look now, one for each; what `board` shows of new versions is written back where that is asked for. Ends when nobody listens any more.
///
/// # Panics
/// When there are no repositories.
pub async fn watch(
    sources: Vec<(GitSource, Arc<Notify>)>,
    dir: PathBuf,
    statuses: Arc<StatusStore>,
    readings: mpsc::Sender<Reading>,
) {
    let mut standings = Vec::new();
    let mut writers = BTreeMap::new();
    for (source, nudge) in sources {
        let (writer, raised) = mpsc::channel(16);
        if source.write_back.is_some() {
            writers.insert(source.name.clone(), writer);
        }
        let (standing, stands) = channel::channel(RepositoryState::default());
        standings.push((source.name.clone(), stands));
        let room = dir.join(source.room());
        tokio::spawn(follow(source, room, FollowerRequests { nudge, raised }, standing));
    }
    if !writers.is_empty() {
        tokio::spawn(watch_raises(statuses, writers));
    }
    let mut last = None;
    loop {
        let each = standings.iter_mut().map(|(name, stands)| (name.as_str(), stands.borrow_and_update().clone()));
        let each: Vec<_> = each.collect();
        // Nothing is said before something is known; who is slow holds nobody up.
        let known = each.iter().any(|(_, standing)| standing.good.is_some() || standing.problem.is_some());
        let reading = merged(&each);
        if known && last.as_ref() != Some(&reading) {
            if readings.send(reading.clone()).await.is_err() {
                return;
            }
            last = Some(reading);
        }
        let news = standings.iter_mut().map(|(_, stands)| Box::pin(stands.changed()));
        tokio::select! {
            (ended, _, _) = select_all(news) => if ended.is_err() { return },
            () = readings.closed() => return,
        }
    }
}

/// One reading of what is in force of each repository.
fn merged(standings: &[(&str, RepositoryState)]) -> Reading {
    let mut all = Reading::default();
    for (name, RepositoryState { good, problem }) in standings {
        all.refused.extend(problem.clone());
        let Some(good) = good else {
            all.unread.get_or_insert_with(|| format!("nothing of the repository {name} could be read yet"));
            continue;
        };
        all.files.extend(good.files.iter().cloned());
        all.env_files.extend(good.env_files.iter().map(|(path, content)| (path.clone(), content.clone())));
        all.compose.requests.extend(good.compose.requests.clone());
        all.compose.nested.extend(good.compose.nested.clone());
        all.host_name = good.host_name.clone();
        all.origins.extend(good.origins.iter().map(|(name, origin)| (name.clone(), origin.clone())));
    }
    all.files.sort_by(|a, b| a.0.cmp(&b.0));
    all
}
