//! The controller's own readiness probe: one question, and the task that asks it again and again. Knows addresses, not
//! containers.

mod question;

use std::net::IpAddr;
use std::time::Duration;

use composed_core::model::Probe;
use crd_schema::{ComposeDuration, Readiness};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

pub use question::{TIMEOUT, ask};

/// The time between two questions, where none is given. Ten times Kubernetes' pace, because a rollout waits for it.
pub const PERIOD: Duration = Duration::from_secs(1);
/// So many failures in a row make a ready one unready, where nothing is given (Kubernetes' `failureThreshold`): one lost
/// answer is not worth a place in rotation.
const FAILURES: u32 = 3;

/// Asks at once and then every period, at any of the addresses, and tells `verdict`. Ends with its receivers.
pub async fn keep_asking(
    readiness: Readiness,
    addresses: Vec<IpAddr>,
    verdict: watch::Sender<Probe>,
    changed: impl Fn(),
) {
    let period = readiness.period.map_or(PERIOD, ComposeDuration::get).max(Duration::from_millis(1));
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut best = 0;
    let mut row = Row::new(&readiness);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = verdict.closed() => return,
        }
        let answer = tokio::select! {
            answer = ask_any(&readiness, &addresses, &mut best) => answer,
            () = verdict.closed() => return,
        };
        let news = verdict.send_if_modified(|old| match row.add(answer, old) {
            Some(new) => std::mem::replace(old, new.clone()) != new,
            None => false,
        });
        if news {
            changed();
        }
    }
}

/// Answers of one kind in a row, against the thresholds.
struct Row {
    passing: bool,
    length: u32,
    successes: u32,
    failures: u32,
}

impl Row {
    fn new(readiness: &Readiness) -> Self {
        let (successes, failures) = (readiness.success_threshold, readiness.failure_threshold);
        Self { passing: false, length: 0, successes: successes.unwrap_or(1), failures: failures.unwrap_or(FAILURES) }
    }

    /// The verdict after one more answer, if it is another than before.
    ///
    /// With thresholds 2 and 3: failing, pass, pass -> passing; fail, fail, pass -> still passing; fail, fail, fail ->
    /// failing.
    fn add(&mut self, answer: Probe, before: &Probe) -> Option<Probe> {
        let passing = answer == Probe::Passing;
        self.length = if passing == self.passing { self.length.saturating_add(1) } else { 1 };
        self.passing = passing;
        match (passing, before) {
            (true, Probe::Passing) => None,
            (true, _) => {
                let so_far = format!("{} of {} answers in a row are right", self.length, self.successes);
                Some(if self.length >= self.successes { answer } else { Probe::Failing(so_far) })
            }
            (false, Probe::Passing) => (self.length >= self.failures).then_some(answer),
            // What was seen last is what people want to read.
            (false, _) => Some(answer),
        }
    }
}

/// Asks at the address that answered well last, then at the others: a container of several networks may listen on one.
async fn ask_any(readiness: &Readiness, addresses: &[IpAddr], best: &mut usize) -> Probe {
    let mut first = None;
    for offset in 0..addresses.len() {
        let at = (*best + offset) % addresses.len();
        let Some(address) = addresses.get(at) else { break };
        match ask(readiness, *address).await {
            Ok(()) => {
                *best = at;
                return Probe::Passing;
            }
            Err(why) => first = first.or(Some(why)),
        }
    }
    Probe::Failing(first.unwrap_or_else(|| "it has no address".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_answers_in_a_row() {
        let readiness = Readiness { success_threshold: Some(2), failure_threshold: Some(3), ..Readiness::default() };
        let mut row = Row::new(&readiness);
        let mut verdict = Probe::Unasked;
        let mut after = |answers: &str| {
            for answer in answers.chars() {
                let answer = if answer == '+' { Probe::Passing } else { Probe::Failing("status 500".to_owned()) };
                if let Some(new) = row.add(answer, &verdict) {
                    verdict = new;
                }
            }
            verdict.clone()
        };
        assert_eq!(after("+"), Probe::Failing("1 of 2 answers in a row are right".to_owned()));
        assert_eq!(after("-"), Probe::Failing("status 500".to_owned()));
        assert_eq!(after("++"), Probe::Passing);
        assert_eq!(after("--+--"), Probe::Passing);
        assert_eq!(after("-"), Probe::Failing("status 500".to_owned()));
    }
}
