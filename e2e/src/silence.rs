//! How long a command says nothing, and whether it has said before what it waits for. A person who waits for a rollout is to know
//! at every moment what for.

use std::collections::BTreeMap;
use std::time::Duration;

/// A time in which nothing was said though no service had said that it waits.
#[derive(Debug, PartialEq, Eq)]
pub struct Silence {
    /// When it began, from the start of the command.
    pub at: Duration,
    /// How long it was.
    pub lasted: Duration,
    /// What was said last.
    pub after: String,
}

/// The silences of a command that took so long and wrote these lines, each at its time. What comes before the first line of
/// progress is its start, and none.
pub fn silences(lines: &[(Duration, String)], took: Duration) -> Vec<Silence> {
    let mut waits: BTreeMap<&str, bool> = BTreeMap::new();
    let mut found = Vec::new();
    let ends = lines.iter().skip(1).map(|(at, _)| *at).chain([took]);
    for ((at, line), end) in lines.iter().zip(ends) {
        if let Some(service) = service(line) {
            waits.insert(service, line.contains("waits for"));
        }
        let told = waits.is_empty() || waits.values().any(|waits| *waits);
        if !told {
            found.push(Silence { at: *at, lasted: end.saturating_sub(*at), after: line.clone() });
        }
    }
    found
}

/// The service of a line of progress: `shop/web  1/3 available, 1 updated  [1 pending]  RolloutInProgress  waits for ...`.
fn service(line: &str) -> Option<&str> {
    let (name, rest) = line.split_once("  ")?;
    (name.contains('/') && rest.contains(" available, ") && rest.contains(" updated ")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_a_time_in_which_no_service_has_said_that_it_waits() {
        let secs = Duration::from_secs;
        let line = |at: u64, text: &str| (secs(at), text.to_owned());
        let progress = |at: u64, name: &str, what: &str| {
            line(at, &format!("shop/{name}  0/1 available, 0 updated  [1 pending]  RolloutInProgress  {what}"))
        };
        let lines = [
            line(3, "warning: nothing yet"),
            progress(4, "a", "waits for shop-a-1 to become healthy"),
            line(5, "05:19:15.877  shop/a  start shop-a-1  (fewer replicas than wanted)"),
            progress(10, "b", ""),
            progress(20, "a", ""),
        ];
        let untold = silences(&lines, secs(27));
        assert_eq!(untold.len(), 1, "{untold:?}");
        assert_eq!((untold[0].at, untold[0].lasted), (secs(20), secs(7)));
    }
}
