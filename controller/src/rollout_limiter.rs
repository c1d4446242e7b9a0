//! How many services roll out at once. Whoever has begun is never held, and whoever only heals or scales does not ask.

use std::collections::BTreeSet;

use composed_core::model::ServiceName;
use composed_core::plan::admission::RolloutState;
use parking_lot::{Mutex, MutexGuard};

/// So many names are said of those who are waited for.
const MAX_NAMED: usize = 3;

/// Whose turn it is. Nothing of it is kept: who has begun is seen at the first look after a start.
#[derive(Debug, Default)]
pub struct RolloutLimiter {
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

impl RolloutLimiter {
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
    pub fn try_acquire(&self, service: &ServiceName, stand: RolloutState) -> Option<String> {
        let limit = self.limit?;
        let mut inner = self.lock();
        if let Some(unknown) = &mut inner.unknown
            && unknown.remove(service)
            && unknown.is_empty()
        {
            inner.freed = true;
        }
        match stand {
            RolloutState::Idle => {
                inner.waiting.remove(service);
                inner.freed |= inner.rolling.remove(service);
                None
            }
            RolloutState::Rolling => {
                inner.waiting.remove(service);
                inner.rolling.insert(service.clone());
                None
            }
            RolloutState::Waiting if inner.rolling.contains(service) => None,
            RolloutState::Waiting => {
                let unknown = inner.unknown.as_ref().map_or(0, BTreeSet::len);
                if unknown == 0 && inner.rolling.len() < limit {
                    inner.waiting.remove(service);
                    inner.rolling.insert(service.clone());
                    return None;
                }
                inner.waiting.insert(service.clone());
                Some(describe(&inner.rolling, limit, unknown))
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
    pub fn released(&self) -> BTreeSet<ServiceName> {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.freed) { inner.waiting.clone() } else { BTreeSet::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

/// For people.
fn describe(rolling: &BTreeSet<ServiceName>, limit: usize, unknown: usize) -> String {
    if rolling.is_empty() {
        return format!("{unknown} services are still to be looked at");
    }
    let mut names: Vec<_> = rolling.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    if rolling.len() > MAX_NAMED {
        names.push(format!("{} more", rolling.len() - MAX_NAMED));
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
        let limiter = RolloutLimiter::new(Some(1));
        assert_eq!(limiter.try_acquire(&name("a"), RolloutState::Waiting), None);
        assert_eq!(limiter.try_acquire(&name("a"), RolloutState::Waiting), None, "its turn lasts");
        assert_eq!(
            limiter.try_acquire(&name("b"), RolloutState::Waiting).unwrap(),
            "shop/a rolls out, and 1 may at once"
        );
        assert_eq!(limiter.try_acquire(&name("c"), RolloutState::Rolling), None, "who has begun is not held");
        assert!(limiter.released().is_empty());
        assert_eq!(limiter.try_acquire(&name("a"), RolloutState::Idle), None);
        assert_eq!(limiter.released(), [name("b")].into());
        assert!(limiter.try_acquire(&name("b"), RolloutState::Waiting).unwrap().starts_with("shop/c"));
        limiter.forget(&name("c"));
        assert_eq!(limiter.released(), [name("b")].into());
        assert_eq!(limiter.try_acquire(&name("b"), RolloutState::Waiting), None);
    }

    #[test]
    fn nobody_begins_before_it_is_known_who_has() {
        let limiter = RolloutLimiter::new(Some(2));
        limiter.expect([name("a"), name("b")].iter());
        assert_eq!(
            limiter.try_acquire(&name("a"), RolloutState::Waiting).unwrap(),
            "1 services are still to be looked at"
        );
        limiter.try_acquire(&name("b"), RolloutState::Rolling);
        assert_eq!(limiter.released(), [name("a")].into());
        assert_eq!(limiter.try_acquire(&name("a"), RolloutState::Waiting), None);
    }

    #[test]
    fn without_a_limit_everybody_goes() {
        let limiter = RolloutLimiter::default();
        for service in ["a", "b", "c"] {
            assert_eq!(limiter.try_acquire(&name(service), RolloutState::Waiting), None);
        }
    }
}
