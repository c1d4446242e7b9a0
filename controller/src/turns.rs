//! How many services roll out at once. Whoever has begun is never held, and whoever only heals or scales does not ask.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::ServiceName;
use crate::plan::begin::Stand;

/// So many names are said of those who are waited for.
const NAMED: usize = 3;

/// Whose turn it is. Nothing of it is kept: who has begun is seen at the first look after a start.
#[derive(Debug, Default)]
pub struct Turns {
    limit: Option<usize>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    rolling: BTreeSet<ServiceName>,
    waiting: BTreeSet<ServiceName>,
    /// Those that were not looked at yet, while that matters.
    unknown: Option<BTreeSet<ServiceName>>,
    /// A place has become free since this was last taken.
    freed: bool,
}

impl Turns {
    /// With room for so many; `None`: for all.
    pub fn new(limit: Option<u32>) -> Self {
        Self { limit: limit.and_then(|limit| usize::try_from(limit.max(1)).ok()), inner: Mutex::default() }
    }

    /// These are wanted. Until each was looked at once, nobody knows who has begun.
    pub fn expect<'a>(&self, names: impl Iterator<Item = &'a ServiceName>) {
        let mut inner = self.lock();
        if inner.unknown.is_none() {
            inner.unknown = Some(names.cloned().collect());
        }
    }

    /// Whom `service` has to let go first, if it has to.
    pub fn ask(&self, service: &ServiceName, stand: Stand) -> Option<String> {
        let limit = self.limit?;
        let mut inner = self.lock();
        if let Some(unknown) = &mut inner.unknown
            && unknown.remove(service)
            && unknown.is_empty()
        {
            inner.freed = true;
        }
        match stand {
            Stand::Rests => {
                inner.waiting.remove(service);
                inner.freed |= inner.rolling.remove(service);
                None
            }
            Stand::Rolls => {
                inner.waiting.remove(service);
                inner.rolling.insert(service.clone());
                None
            }
            Stand::Asks if inner.rolling.contains(service) => None,
            Stand::Asks => {
                let unknown = inner.unknown.as_ref().map_or(0, BTreeSet::len);
                if unknown == 0 && inner.rolling.len() < limit {
                    inner.waiting.remove(service);
                    inner.rolling.insert(service.clone());
                    return None;
                }
                inner.waiting.insert(service.clone());
                Some(said(&inner.rolling, limit, unknown))
            }
        }
    }

    /// Forgets a service that is gone.
    pub fn forget(&self, service: &ServiceName) {
        let mut inner = self.lock();
        inner.waiting.remove(service);
        inner.freed |= inner.rolling.remove(service);
        if let Some(unknown) = &mut inner.unknown {
            inner.freed |= unknown.remove(service) && unknown.is_empty();
        }
    }

    /// Those that may ask again, since a place has become free.
    pub fn freed(&self) -> BTreeSet<ServiceName> {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.freed) { inner.waiting.clone() } else { BTreeSet::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For people.
fn said(rolling: &BTreeSet<ServiceName>, limit: usize, unknown: usize) -> String {
    if rolling.is_empty() {
        return format!("{unknown} services are still to be looked at");
    }
    let mut names: Vec<_> = rolling.iter().take(NAMED).map(ToString::to_string).collect();
    if rolling.len() > NAMED {
        names.push(format!("{} more", rolling.len() - NAMED));
    }
    let verb = if rolling.len() == 1 { "rolls out" } else { "roll out" };
    format!("{} {verb}, and {limit} may at once", names.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn name(name: &str) -> ServiceName {
        ServiceName::new("shop", name)
    }

    #[test]
    fn so_many_at_once_and_the_next_when_one_is_done() {
        let turns = Turns::new(Some(1));
        assert_eq!(turns.ask(&name("a"), Stand::Asks), None);
        assert_eq!(turns.ask(&name("a"), Stand::Asks), None, "its turn lasts");
        assert_eq!(turns.ask(&name("b"), Stand::Asks).unwrap(), "shop/a rolls out, and 1 may at once");
        assert_eq!(turns.ask(&name("c"), Stand::Rolls), None, "who has begun is not held");
        assert!(turns.freed().is_empty());
        assert_eq!(turns.ask(&name("a"), Stand::Rests), None);
        assert_eq!(turns.freed(), [name("b")].into());
        assert!(turns.ask(&name("b"), Stand::Asks).unwrap().starts_with("shop/c"));
        turns.forget(&name("c"));
        assert_eq!(turns.freed(), [name("b")].into());
        assert_eq!(turns.ask(&name("b"), Stand::Asks), None);
    }

    #[test]
    fn nobody_begins_before_it_is_known_who_has() {
        let turns = Turns::new(Some(2));
        turns.expect([name("a"), name("b")].iter());
        assert_eq!(turns.ask(&name("a"), Stand::Asks).unwrap(), "1 services are still to be looked at");
        turns.ask(&name("b"), Stand::Rolls);
        assert_eq!(turns.freed(), [name("a")].into());
        assert_eq!(turns.ask(&name("a"), Stand::Asks), None);
    }

    #[test]
    fn without_a_limit_everybody_goes() {
        let turns = Turns::default();
        for service in ["a", "b", "c"] {
            assert_eq!(turns.ask(&name(service), Stand::Asks), None);
        }
    }
}
