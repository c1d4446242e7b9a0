//! What people are to be told of a service, until it is handed over.

use crd_schema::Revision;
use jiff::Timestamp;

use super::super::{Notification, NotificationKind};
use super::{Outcome, ServiceRecord};

/// So many may wait to be handed over; there are not as many unless nobody takes them.
const MAX_OUTBOX: usize = 50;

impl ServiceRecord {
    /// Has people told what became of a revision. That an unchanged one is there again is no news.
    pub fn queue_outcome(&mut self, revision: &Revision, outcome: Outcome, why: Option<&str>, now: Timestamp) {
        let fresh = self.record(revision).is_some_and(|record| record.fresh);
        match outcome {
            Outcome::Available if fresh => {
                self.queue_notification(NotificationKind::Deployed, revision, String::new(), now);
            }
            Outcome::Failed => {
                self.queue_notification(NotificationKind::Failed, revision, why.unwrap_or_default().to_owned(), now);
            }
            Outcome::Available | Outcome::Pending | Outcome::Superseded => {}
        }
    }

    /// That others keep changing the service, while they do. It is the same one for as long.
    pub fn contention_notification(&self, now: Timestamp) -> Option<Notification> {
        let (what, until) = self.contended(now)?;
        let message = format!("others keep changing it, so nothing is begun until {until}: {what}");
        self.notification_for(NotificationKind::Contended, &self.revisions.history.last()?.revision, message, until)
    }

    /// Has people told something of a revision.
    pub fn queue_notification(
        &mut self,
        event: NotificationKind,
        revision: &Revision,
        message: String,
        now: Timestamp,
    ) {
        let Some(notice) = self.notification_for(event, revision, message, now) else { return };
        self.outbox.push(notice);
        let surplus = self.outbox.len().saturating_sub(MAX_OUTBOX);
        self.outbox.drain(..surplus);
    }

    fn notification_for(
        &self,
        event: NotificationKind,
        revision: &Revision,
        message: String,
        now: Timestamp,
    ) -> Option<Notification> {
        let record = self.record(revision)?;
        let begun = record.begun.unwrap_or(record.since);
        let goes_on = self.last_available(revision).map(|record| record.revision.clone());
        Some(Notification {
            id: String::new(),
            event,
            project: String::new(),
            service: String::new(),
            revision: revision.clone(),
            generation: record.generation,
            image: record.spec.image.clone(),
            commit: record.commit.clone(),
            goes_on: goes_on.filter(|_| event == NotificationKind::Failed),
            message,
            seconds: u64::try_from(now.duration_since(begun).as_secs()).ok(),
            at: now,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use crd_schema::ImageRef;

    use super::super::super::{DesiredService, ExternalChange, Observed, ServiceName};
    use super::*;

    fn memory(now: Timestamp) -> ServiceRecord {
        let spec = crd_schema::ServiceSpec { image: ImageRef::new("web:1"), ..crd_schema::ServiceSpec::default() };
        let desired = DesiredService::new(ServiceName::new("shop", "web"), spec, "web.yaml:1");
        let mut memory = ServiceRecord::default();
        memory.observe(Some(&desired), &Observed::default(), now);
        memory
    }

    #[test]
    fn others_at_work_are_one_outcome_for_as_long_as_it_lasts() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let mut memory = memory(now);
        let secs = std::time::Duration::from_secs;
        let change = |ago| ExternalChange {
            at: now - secs(ago),
            last: now - secs(ago),
            what: "2 of its containers were removed".to_owned(),
        };
        memory.external_changes = vec![change(300), change(200)];
        assert_eq!(memory.contention_notification(now), None);
        memory.external_changes.push(change(100));
        let id = |now| memory.contention_notification(now).map(|notice| notice.of(&ServiceName::new("shop", "web")).id);
        assert!(id(now).unwrap().starts_with("shop/web contended "));
        assert_eq!(id(now), id(now + secs(60)));
        assert_eq!(id(now + secs(600)), None);
    }

    #[test]
    fn the_same_outcome_has_the_same_name_and_another_one_another() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let mut memory = memory(now);
        let revision = memory.revisions.history[0].revision.clone();
        memory.queue_outcome(&revision, Outcome::Failed, Some("why"), now);
        memory.queue_outcome(&revision, Outcome::Failed, Some("why"), now + std::time::Duration::from_secs(1));
        memory.queue_outcome(&revision, Outcome::Available, None, now);
        memory.record_outcome(&revision, Outcome::Available);
        // That it is there again is none.
        memory.queue_outcome(&revision, Outcome::Available, None, now);
        let ids: Vec<_> = memory.outbox.iter().map(|one| one.clone().of(&ServiceName::new("shop", "web")).id).collect();
        assert_eq!(ids.len(), 3);
        assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    }
}
