//! That somebody has gone back to an earlier revision by hand: a deliberate act, and no failure of what it gives up.

use crd_schema::{FailureAction, Revision};
use jiff::Timestamp;

use super::super::manual_rollout::{rolled_out, rollout_number};
use super::{Outcome, RevisionFailure, RevisionRecord, ServiceRecord, Undone};

/// What an undo comes to.
#[derive(Debug, PartialEq)]
pub enum UndoDecision<'a> {
    /// The service goes from the first revision to the second one.
    Back(&'a RevisionRecord, &'a RevisionRecord),
    /// It is as it is asked for already: this says how.
    Nothing(String),
}

impl ServiceRecord {
    /// What was given up by hand, of the document as it is now.
    pub fn undone(&self) -> Option<&Undone> {
        self.revisions.undone.as_ref().filter(|undone| undone.digest == self.digest)
    }

    /// The revision that all replicas shall have after an undo; `None` where it is not remembered any more.
    pub fn undone_to(&self) -> Option<&RevisionRecord> {
        let undone = self.undone()?;
        let told = self.record(&undone.to).filter(|record| record.outcome != Outcome::Failed);
        told.or_else(|| self.last_available(&undone.from))
    }

    /// Gives the present revision up for an earlier one: for `to`, or the beginning of its name, else for the last one that was
    /// available. What the document asks for ends an undo.
    ///
    /// # Errors
    /// Why that cannot be, in words.
    pub fn undo(&mut self, to: Option<&str>, by: Option<String>, now: Timestamp) -> Result<UndoDecision<'_>, String> {
        let Some(desired) = self.revisions.history.last().map(|record| record.revision.clone()) else {
            return Err("no revision of it is remembered".to_owned());
        };
        let present = self.undone_to().map(|record| record.revision.clone());
        let to = match (to, &present) {
            (Some(to), _) => self.named(to)?.revision.clone(),
            (None, Some(present)) => present.clone(),
            (None, None) => {
                self.last_available(&desired).ok_or("no earlier revision of it was available")?.revision.clone()
            }
        };
        if let Some(undone) = self.undone().filter(|_| present.as_ref() == Some(&to)) {
            return Ok(UndoDecision::Nothing(format!(
                "there is nothing to do: {} was undone at {}, and {to} runs in its place",
                undone.from, undone.at
            )));
        }
        if let Some(failure) = self
            .gone_back_from()
            .filter(|_| present.is_none() && self.last_available(&desired).is_some_and(|last| last.revision == to))
        {
            return Ok(UndoDecision::Nothing(format!(
                "there is nothing to do: {} has failed at {}, and {to} runs in its place",
                failure.revision, failure.at
            )));
        }
        if to == desired && present.is_none() {
            return Err(format!("{to} is what the document asks for: change the document to have it tried again"));
        }
        let from = present.unwrap_or_else(|| desired.clone());
        let digest = self.digest.clone();
        let undone = Undone { digest, from: desired.clone(), to: to.clone(), at: now, by };
        self.revisions.undone = (to != desired).then_some(undone.clone());
        for record in self.revisions.history.iter_mut().filter(|record| record.revision == from) {
            record.undone = Some(Undone { from: from.clone(), ..undone.clone() });
        }
        self.revisions.progress_since = Some(now);
        self.record(&from)
            .zip(self.record(&to))
            .map(|(from, to)| UndoDecision::Back(from, to))
            .ok_or_else(|| "no revision of it is remembered".to_owned())
    }

    /// The failure of what the document asks for, where that has brought back what was before by itself.
    fn gone_back_from(&self) -> Option<&RevisionFailure> {
        let failure = self.revisions.failure.as_ref().filter(|failure| failure.digest == self.digest)?;
        let rollout = self.record(&failure.revision)?.spec.rollout.clone().unwrap_or_default();
        (rollout.failure_action.unwrap_or_default() == FailureAction::Rollback).then_some(failure)
    }

    /// The revision that is called so, or whose name begins so.
    fn named(&self, name: &str) -> Result<&RevisionRecord, String> {
        // The whole name of one begins those of its rollouts.
        if let Some(record) = self.record(&Revision::new(name)) {
            return Ok(record);
        }
        let is = |record: &&RevisionRecord| !name.is_empty() && record.revision.as_str().starts_with(name);
        let mut named = self.revisions.history.iter().filter(is);
        match (named.next(), named.next()) {
            (Some(record), None) => Ok(record),
            (Some(_), Some(_)) => Err(format!("several revisions begin with {name}")),
            (None, _) => Err(format!("no revision {name} is remembered")),
        }
    }

    /// Has all replicas of what runs after an undo replaced by new ones of the same. Whether there is such.
    pub fn roll_out_undone(&mut self, now: Timestamp) -> bool {
        let Some(old) = self.undone_to().cloned() else { return false };
        let numbers = self.revisions.history.iter().filter_map(|one| rollout_number(&one.revision, &old.revision));
        let revision = Revision::new(rolled_out(old.revision.as_str(), numbers.max().unwrap_or(0) + 1));
        if let Some(undone) = &mut self.revisions.undone {
            undone.to = revision.clone();
        }
        let before = self.revisions.history.len().saturating_sub(1);
        let begun = Some(now);
        let record = RevisionRecord { revision, outcome: Outcome::Pending, begun, ended: None, undone: None, ..old };
        self.revisions.history.insert(before, record);
        self.revisions.progress_since = Some(now);
        self.revisions.streak = None;
        self.limit_history();
        true
    }
}
