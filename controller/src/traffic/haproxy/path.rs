//! The path through HAProxy: which of them there are, what each is to know, and whether it does.

mod wisher;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crd_schema::status::TrafficPath;
use crd_schema::{Front, HaproxyDriver, ServiceSpec};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use self::wisher::Wisher;
use super::super::local::Way;
use super::super::paths::{Path, Standing};
use super::keeper::{Keeper, Taken};
use super::reach::{Place, Reach};
use crate::board::{Board, Shown};
use crate::engine::docker::Docker;
use crate::front;
use crate::model::{Key, Memory, Replica, ServiceName, State};
use crate::plan::hint;

/// A HAProxy that has not confirmed a change is looked at again after so long. It may go on by what it knew, so nobody comes
/// or leaves before it has: `progress_deadline` and `drain_timeout` end that. Only who comes to a service that nobody serves
/// yet is not held up for longer where no HAProxy listens.
const BOUND: Duration = Duration::from_secs(5);
/// After its start the controller has seen who serves by then; until it has, HAProxy keeps what it has.
const FIRST_LOOK: Duration = Duration::from_secs(30);
/// A service without a status for so long is gone.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// All of them: the fronts and those that people run themselves.
pub struct Haproxies {
    board: Arc<Board>,
    reach: Arc<Reach>,
    inner: Arc<Mutex<Inner>>,
    nudge: watch::Sender<u64>,
    changes: broadcast::Sender<ServiceName>,
}

#[derive(Default)]
struct Inner {
    // Services whose requests go by a HAProxy.
    services: BTreeMap<ServiceName, Behind>,
    // Services that are fronts, by their own names.
    fronts: BTreeMap<ServiceName, BTreeMap<String, Kept>>,
}

/// A service behind a HAProxy.
struct Behind {
    way: By,
    members: BTreeMap<String, Member>,
    since: Instant,
    // The keeper of its own HAProxy, if it names one.
    own: Option<Kept>,
}

#[derive(Clone, PartialEq)]
enum By {
    Front(Front),
    Driver(HaproxyDriver),
}

#[derive(Clone)]
struct Member {
    addresses: BTreeMap<String, IpAddr>,
    running: bool,
    withdrawn: bool,
}

/// A HAProxy with its keeper; the keeper ends with it.
struct Kept {
    place: watch::Sender<Place>,
    addresses: BTreeMap<String, IpAddr>,
    taken: watch::Receiver<Taken>,
    since: Instant,
}

impl Haproxies {
    /// None yet. Without an engine there are no companions to reach a front that is out of reach.
    pub fn new(way: Way, docker: Option<Arc<Docker>>, board: Arc<Board>) -> Arc<Self> {
        let (changes, _) = broadcast::channel(1024);
        let reach = Arc::new(Reach::new(way, docker));
        Arc::new(Self { board, reach, inner: Arc::default(), nudge: watch::Sender::default(), changes })
    }

    fn keep(&self, place: Place, addresses: BTreeMap<String, IpAddr>, of: &ServiceName, front: Option<&str>) -> Kept {
        let (place, places) = watch::channel(place);
        let (sender, taken) = watch::channel(Taken::default());
        let wisher = Wisher {
            of: of.clone(),
            front: front.map(str::to_owned),
            board: Arc::clone(&self.board),
            inner: Arc::clone(&self.inner),
            changes: self.changes.clone(),
        };
        let nudges = vec![self.board.version(), self.nudge.subscribe()];
        let keeper = Keeper { reach: Arc::clone(&self.reach), place: places, source: wisher, nudges, taken: sender };
        drop(tokio::spawn(keeper.keep()));
        Kept { place, addresses, taken, since: Instant::now() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// The containers of a front, as they run now.
    fn notice_front(&self, name: &ServiceName, owner: &ServiceName, memory: &Memory, replicas: &[Replica]) {
        let mut inner = self.lock();
        let kept = inner.fronts.entry(name.clone()).or_default();
        let running = |id: &String| replicas.iter().any(|replica| replica.id == *id && replica.state == State::Running);
        kept.retain(|id, _| running(id));
        for replica in replicas.iter().filter(|replica| replica.state == State::Running) {
            let addresses = addresses(replica);
            let place = Place::Front {
                id: replica.id.clone(),
                pid: replica.pid,
                addresses: addresses.values().copied().collect(),
                leaving: memory.withdrawn.contains_key(&replica.id),
            };
            match kept.get_mut(&replica.id) {
                Some(one) => {
                    one.addresses = addresses;
                    one.place.send_if_modified(|old| std::mem::replace(old, place.clone()) != place);
                }
                None => drop(kept.insert(replica.id.clone(), self.keep(place, addresses, owner, Some(&replica.id)))),
            }
        }
    }

    /// Those behind a HAProxy, as they are now.
    fn notice_service(&self, name: &ServiceName, way: Option<By>, memory: &Memory, replicas: &[Replica]) {
        let mut inner = self.lock();
        // While a front is there it must know who leaves, wanted or not.
        let leftover = inner.fronts.get(&front::name(name)).is_some_and(|kept| !kept.is_empty());
        let before = inner.services.remove(name);
        let last =
            before.as_ref().map(|behind| behind.way.clone()).filter(|way| leftover && matches!(way, By::Front(_)));
        let Some(way) = way.or(last) else { return };
        let members = replicas.iter().map(|replica| {
            let member = Member {
                addresses: addresses(replica),
                running: replica.state == State::Running,
                withdrawn: memory.withdrawn.contains_key(&replica.id),
            };
            (replica.id.clone(), member)
        });
        let since = before.as_ref().map_or_else(Instant::now, |behind| behind.since);
        let own = match &way {
            By::Front(_) => None,
            By::Driver(driver) => {
                let same = before.filter(|behind| behind.way == way).and_then(|behind| behind.own);
                let place = Place::Socket(driver.socket.clone());
                Some(same.unwrap_or_else(|| self.keep(place, BTreeMap::new(), name, None)))
            }
        };
        inner.services.insert(name.clone(), Behind { way, members: members.collect(), since, own });
    }

    fn sweep(&self) {
        let old =
            |name: &ServiceName, since: Instant| since.elapsed() >= FORGOTTEN && self.board.status(name).is_none();
        let mut inner = self.lock();
        inner.services.retain(|name, behind| !old(name, behind.since));
        inner.fronts.retain(|name, kept| !kept.values().all(|one| old(name, one.since)) || kept.is_empty());
    }
}

impl Path for Haproxies {
    fn notice(&self, service: &ServiceName, spec: Option<&ServiceSpec>, memory: &Memory, replicas: &[Replica]) {
        self.sweep();
        let spec = spec.or_else(|| memory.history.last().map(|record| &record.spec));
        if let Some(generated) = spec.and_then(|spec| spec.generated.as_ref()) {
            let owner = ServiceName::new(&service.project, &generated.front_of);
            self.notice_front(service, &owner, memory, replicas);
        } else {
            let driver = spec.and_then(|spec| spec.traffic.as_ref()?.haproxy.clone()).map(By::Driver);
            let way = spec.and_then(|spec| spec.front.clone()).map(By::Front).or(driver);
            self.notice_service(service, way, memory, replicas);
        }
        self.nudge.send_modify(|version| *version += 1);
    }

    fn standing(&self, service: &ServiceName, replica: &Replica, serves: bool, shown: Option<Shown>) -> Standing {
        let inner = self.lock();
        if let Some(kept) = inner.fronts.get(service) {
            return match kept.get(&replica.id) {
                Some(one) if serves => one.pending("to be filled", |taken| taken.complete, None),
                _ => Standing::Unused,
            };
        }
        let Some(behind) = inner.services.get(service) else { return Standing::Unused };
        let others = behind.members.keys().filter(|id| **id != replica.id);
        let mut shown_others = others.filter_map(|id| self.board.shown(service, id));
        let first = serves && !shown_others.any(|other| other.serving);
        // What is not shown yet cannot have been taken in; the wait begins when it is.
        let at_first = first.then(|| match shown {
            Some(shown) if shown.serving => shown.since + BOUND,
            _ => Instant::now() + BOUND,
        });
        let id = short(&replica.id);
        let has = |taken: &Taken| {
            if serves { taken.serving.contains(id) } else { taken.known && !taken.touched.contains(id) }
        };
        let what = if serves { "to send to it" } else { "to let go of it" };
        let fronts = inner.fronts.get(&front::name(service));
        let all: Vec<&Kept> = match &behind.way {
            By::Driver(_) => behind.own.iter().collect(),
            By::Front(_) => {
                let Some(kept) = fronts else {
                    let until = behind.since + BOUND;
                    return Standing::Pending { what: "its front to be looked at".to_owned(), until };
                };
                kept.values().collect()
            }
        };
        if all.is_empty() {
            return Standing::Unused;
        }
        let each = all.into_iter().map(|one| one.pending(what, has, at_first));
        each.fold(Standing::Settled, |all, one| if all == Standing::Settled { one } else { all })
    }

    fn in_flight(&self, service: &ServiceName, replica: &Replica) -> u32 {
        let inner = self.lock();
        let Some(behind) = inner.services.get(service) else { return 0 };
        let fronts = inner.fronts.get(&front::name(service)).filter(|_| matches!(behind.way, By::Front(_)));
        let all = behind.own.iter().chain(fronts.into_iter().flat_map(BTreeMap::values));
        all.map(|one| one.taken.borrow().busy.get(short(&replica.id)).copied().unwrap_or_default()).sum()
    }

    fn counts(&self, service: &ServiceName) -> bool {
        self.lock().services.contains_key(service)
    }

    fn about(&self, service: &ServiceName) -> Option<TrafficPath> {
        let inner = self.lock();
        Some(match &inner.services.get(service)?.way {
            By::Front(_) => hint::front(),
            By::Driver(_) => hint::haproxy(),
        })
    }

    fn watch(&self) -> BoxStream<'static, Key> {
        let names = stream::unfold(self.changes.subscribe(), |mut changes| async move {
            loop {
                match changes.recv().await {
                    Ok(name) => return Some((name, changes)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        names.flat_map(|name| stream::iter([Key::Service(front::name(&name)), Key::Service(name)])).boxed()
    }
}

impl Kept {
    /// Where it stands with what it `has` taken in. `at_first` ends the wait for one that does not run.
    fn pending(&self, what: &str, has: impl Fn(&Taken) -> bool, at_first: Option<Instant>) -> Standing {
        let taken = self.taken.borrow();
        if has(&taken) {
            return Standing::Settled;
        }
        let who = match &*self.place.borrow() {
            Place::Front { .. } => "the front".to_owned(),
            Place::Socket(socket) => format!("HAProxy at {socket}"),
        };
        let why = taken.trouble.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        let until = at_first.filter(|_| taken.nobody).unwrap_or_else(|| Instant::now() + BOUND);
        Standing::Pending { what: format!("{who} {what}{why}"), until }
    }
}

fn addresses(replica: &Replica) -> BTreeMap<String, IpAddr> {
    replica.addresses.iter().filter_map(|(name, text)| Some((name.clone(), text.parse().ok()?))).collect()
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}
