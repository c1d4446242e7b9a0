//! Outcomes that people outside are told: made by the loop together with what they tell of, so that none is lost, and known
//! by a name of their own, so that none is told twice.

use std::fmt;

use crd_schema::status::CommitStatus;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Memory, Outcome, ServiceName};

/// So many may wait to be handed over; there are not as many unless nobody takes them.
const MOST: usize = 50;

/// One outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Its name: the same outcome has the same.
    pub id: String,
    /// What it is.
    pub event: NoticeKind,
    /// The project.
    pub project: String,
    /// The service.
    pub service: String,
    /// The revision that it is about.
    pub revision: String,
    /// The generation that asked for it.
    pub generation: u64,
    /// The image, as the document names it.
    pub image: String,
    /// The commit that asked for it, if it came from git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitStatus>,
    /// The revision that runs instead, after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<String>,
    /// Why, in words; empty after a success.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How long it took, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// When.
    pub at: Timestamp,
}

/// What an outcome is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A rollout has succeeded.
    Deployed,
    /// A rollout has failed.
    Failed,
    /// A post-deploy hook has failed.
    HookFailed,
    /// Others keep changing the service, and it is left alone.
    Contended,
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deployed => "deployed",
            Self::Failed => "failed",
            Self::HookFailed => "hook_failed",
            Self::Contended => "contended",
        })
    }
}

impl Memory {
    /// Has people told what became of a revision. That an unchanged one is there again is no news.
    pub fn tell_outcome(&mut self, revision: &str, outcome: Outcome, why: Option<&str>, now: Timestamp) {
        let fresh = self.record(revision).is_some_and(|record| record.fresh);
        match outcome {
            Outcome::Available if fresh => self.tell(NoticeKind::Deployed, revision, String::new(), now),
            Outcome::Failed => self.tell(NoticeKind::Failed, revision, why.unwrap_or_default().to_owned(), now),
            Outcome::Available | Outcome::Pending => {}
        }
    }

    /// That others keep changing the service, while they do. It is the same one for as long.
    pub fn notice_of_contention(&self, now: Timestamp) -> Option<Notice> {
        let (what, until) = self.contended(now)?;
        let message = format!("others keep changing it, so nothing is begun until {until}: {what}");
        self.news_of(NoticeKind::Contended, &self.history.last()?.revision, message, until)
    }

    /// Has people told something of a revision.
    pub fn tell(&mut self, event: NoticeKind, revision: &str, message: String, now: Timestamp) {
        let Some(notice) = self.news_of(event, revision, message, now) else { return };
        self.outbox.push(notice);
        let surplus = self.outbox.len().saturating_sub(MOST);
        self.outbox.drain(..surplus);
    }

    fn news_of(&self, event: NoticeKind, revision: &str, message: String, now: Timestamp) -> Option<Notice> {
        let record = self.record(revision)?;
        let begun = record.begun.unwrap_or(record.since);
        let goes_on = self.last_available(revision).map(|record| record.revision.clone());
        Some(Notice {
            id: String::new(),
            event,
            project: String::new(),
            service: String::new(),
            revision: revision.to_owned(),
            generation: record.generation,
            image: record.spec.image.clone(),
            commit: record.commit.clone(),
            goes_on: goes_on.filter(|_| event == NoticeKind::Failed),
            message,
            seconds: u64::try_from(now.duration_since(begun).as_secs()).ok(),
            at: now,
        })
    }
}

impl Notice {
    /// It, of this service.
    #[must_use]
    pub fn of(mut self, service: &ServiceName) -> Self {
        self.project.clone_from(&service.project);
        self.service.clone_from(&service.name);
        let Self { event, revision, generation, at, .. } = &self;
        self.id = match event {
            // Each time is another.
            NoticeKind::Contended => format!("{service} {event} {at}"),
            _ => format!("{service} {generation} {revision} {event}"),
        };
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::{Deed, DesiredService, Observed};
    use super::*;

    fn memory(now: Timestamp) -> Memory {
        let spec = crd_schema::ServiceSpec { image: "web:1".to_owned(), ..crd_schema::ServiceSpec::default() };
        let desired = DesiredService::new(ServiceName::new("shop", "web"), spec, "web.yaml:1");
        let mut memory = Memory::default();
        memory.notice(Some(&desired), &Observed::default(), now);
        memory
    }

    #[test]
    fn others_at_work_are_one_outcome_for_as_long_as_it_lasts() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let mut memory = memory(now);
        let secs = std::time::Duration::from_secs;
        let deed = |ago| Deed {
            at: now - secs(ago),
            last: now - secs(ago),
            what: "2 of its containers were removed".to_owned(),
        };
        memory.deeds = vec![deed(300), deed(200)];
        assert_eq!(memory.notice_of_contention(now), None);
        memory.deeds.push(deed(100));
        let id = |now| memory.notice_of_contention(now).map(|notice| notice.of(&ServiceName::new("shop", "web")).id);
        assert!(id(now).unwrap().starts_with("shop/web contended "));
        assert_eq!(id(now), id(now + secs(60)));
        assert_eq!(id(now + secs(600)), None);
    }

    #[test]
    fn the_same_outcome_has_the_same_name_and_another_one_another() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let mut memory = memory(now);
        let revision = memory.history[0].revision.clone();
        memory.tell_outcome(&revision, Outcome::Failed, Some("why"), now);
        memory.tell_outcome(&revision, Outcome::Failed, Some("why"), now + std::time::Duration::from_secs(1));
        memory.tell_outcome(&revision, Outcome::Available, None, now);
        memory.conclude(&revision, Outcome::Available);
        // That it is there again is none.
        memory.tell_outcome(&revision, Outcome::Available, None, now);
        let ids: Vec<_> = memory.outbox.iter().map(|one| one.clone().of(&ServiceName::new("shop", "web")).id).collect();
        assert_eq!(ids.len(), 3);
        assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    }
}
