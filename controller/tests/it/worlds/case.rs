//! What a world is made of.

use super::*;

/// The `container_name` of some.
const FIXED_NAME: &str = "the-web";

/// What a world is made of: everything else follows from the seed.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) replicas: u32,
    pub(super) image: ImageRef,
    pub(super) gone: bool,
    pub(super) held: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "what is special about a world")]
pub(super) struct Case {
    pub(super) rng: fastrand::Rng,
    pub(super) surge: u32,
    pub(super) unavailable: u32,
    pub(super) stop_first: bool,
    /// Its one replica has this name.
    pub(super) fixed_name: Option<String>,
    /// So many replicas that Docker Compose made run already, of this image.
    pub(super) compose: Option<(u32, ImageRef)>,
    pub(super) healthcheck: bool,
    pub(super) restart: bool,
    pub(super) hooks: Option<hooks::Rules>,
    pub(super) action: FailureAction,
    pub(super) canary: bool,
    /// Its replicas end by themselves, and do their work once.
    pub(super) job: bool,
    pub(super) images: BTreeMap<ImageRef, Behaviour>,
    pub(super) script: Vec<(Duration, Event)>,
    pub(super) fault_rate: f64,
    pub(super) event_loss: f64,
    /// Instead of faults at random: this one, at this call.
    pub(super) planned: Option<(u32, Blow)>,
}

impl Case {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut images = BTreeMap::new();
        let lag = [None, Some(Duration::from_millis(rng.u64(1..3000)))][rng.usize(0..2)];
        // An honest proxy, one that lies, one that is dead when it is told.
        let says_left = match (lag, rng.usize(0..4)) {
            (Some(lag), 0) => Some(lag.mul_f64(rng.f64())),
            (Some(lag), 1) => Some(lag + Duration::from_millis(rng.u64(1000..20_000))),
            _ => None,
        };
        // What an early lie costs where nothing is in flight to tell, nobody can know.
        let honest = says_left.zip(lag).is_none_or(|(says, lag)| says >= lag);
        let load = if honest && rng.bool() { Load::Rare } else { Load::Steady };
        let good = |rng: &mut fastrand::Rng| Behaviour {
            lag,
            says_left,
            load,
            ready_after: Duration::from_millis(rng.u64(0..3000)),
            stop_takes: Duration::from_millis(rng.u64(0..15000)),
            busy_for: Duration::from_millis(rng.u64(0..8000)),
            ..Behaviour::default()
        };
        let healthcheck = rng.bool();
        images.insert(ImageRef::new("good:1"), good(&mut rng));
        images.insert(ImageRef::new("good:2"), good(&mut rng));
        images.insert(ImageRef::new("good:3"), good(&mut rng));
        let mut bad = good(&mut rng);
        match rng.u8(0..if healthcheck { 4 } else { 2 }) {
            0 => bad.exits_after = Some(Duration::from_millis(rng.u64(1..1500))),
            1 => bad.unstartable = true,
            2 => bad.never_ready = true,
            _ => bad.sickens_after = Some(Duration::from_millis(rng.u64(1..1800))),
        }
        images.insert(ImageRef::new("bad:1"), bad);
        let replicas = rng.u32(1..=4);
        let wish = |image: &str, replicas| {
            Event::Wish(Wish { replicas, image: ImageRef::new(image), gone: false, held: false })
        };
        let mut script = vec![(Duration::ZERO, wish("good:1", replicas))];
        let mut at = Duration::from_mins(1);
        for _ in 0..rng.usize(1..4) {
            let event = match rng.u8(0..15) {
                0..=3 => wish(["good:2", "good:3"][rng.usize(0..2)], replicas),
                4..=6 => wish("bad:1", replicas),
                7 => wish("good:1", rng.u32(0..=5)),
                8 => Event::Kill(rng.usize(0..4), [1, 137, 0][rng.usize(0..3)]),
                9 => Event::StopByHand(rng.usize(0..4)),
                10 => Event::RemoveByHand(rng.usize(0..4)),
                11 | 12 => Event::Order(by_hand::Order::Undo),
                13 => Event::Order(by_hand::Order::Rollout),
                _ => Event::Pause(rng.usize(0..4)),
            };
            script.push((at, event));
            // Often in the middle of what goes on.
            at += Duration::from_millis(if rng.bool() { rng.u64(50..6000) } else { rng.u64(30_000..120_000) });
        }
        let compose = (rng.u8(0..4) == 0).then(|| {
            let image = ["good:1", "good:2"][rng.usize(0..2)];
            (rng.u32(1..=replicas), ImageRef::new(image))
        });
        // Without its memory nobody knows that they are to go with their document.
        match rng.u8(u8::from(compose.is_some())..8) {
            0 => script
                .push((at, Event::Wish(Wish { replicas, image: ImageRef::new("good:1"), gone: true, held: false }))),
            1 => {
                let held = Wish { replicas, image: ImageRef::new("good:2"), gone: false, held: true };
                script.push((at, Event::Wish(held)));
                script.push((at + Duration::from_secs(30), wish("good:2", replicas)));
            }
            _ => {}
        }
        let stop_first = rng.u8(0..4) == 0;
        let mut hooked = None;
        let mut compose = compose;
        if seed % 3 == 1 {
            compose = None;
            hooked = Some(hooks::Rules::new(&mut rng, &mut images, &mut script));
        }
        // One replica has a name that nobody else can have.
        let fixed = seed % 5 == 2;
        for (_, event) in script.iter_mut().filter(|_| fixed) {
            if let Event::Wish(wish) = event {
                wish.replicas = wish.replicas.min(1);
            }
        }
        if let Some((count, _)) = compose.as_mut().filter(|_| fixed) {
            *count = 1;
        }
        Self {
            hooks: hooked,
            compose,
            surge: rng.u32(0..=2),
            unavailable: rng.u32(0..=1),
            stop_first,
            fixed_name: fixed.then(|| FIXED_NAME.to_owned()),
            healthcheck,
            restart: rng.u8(0..3) == 0,
            action: if rng.u8(0..8) == 0 { FailureAction::Pause } else { FailureAction::Rollback },
            canary: rng.u8(0..5) == 0,
            job: false,
            images,
            script,
            fault_rate: [0.0, 0.05, 0.3][rng.usize(0..3)],
            event_loss: [0.0, 0.3, 1.0][rng.usize(0..3)],
            planned: None,
            rng,
        }
    }

    pub(super) fn spec(&self, wish: &Wish) -> ServiceSpec {
        let healthcheck = self.healthcheck.then(|| Healthcheck {
            test: vec!["CMD".to_owned(), "/check".to_owned()],
            interval: Some(ComposeDuration::from_secs(1)),
            retries: Some(3),
            start_period: Some(ComposeDuration::from_secs(5)),
            ..Healthcheck::default()
        });
        ServiceSpec {
            image: wish.image.clone(),
            replicas: Some(wish.replicas),
            container_name: self.fixed_name.clone(),
            healthcheck,
            restart: if self.job {
                Some(crd_schema::RestartPolicy::No)
            } else {
                self.restart.then_some(crd_schema::RestartPolicy::Always)
            },
            drain_timeout: Some(ComposeDuration::from_secs(DRAIN.as_secs())),
            hooks: self.hooks.as_ref().map(hooks::Rules::hooks),
            rollout: Some(Rollout {
                order: Some(if self.stop_first { Order::StopFirst } else { Order::Auto }),
                max_surge: Some(IntOrPercent::Int(self.surge)),
                max_unavailable: Some(IntOrPercent::Int(self.unavailable)),
                min_ready: Some(ComposeDuration::from_secs(MIN_READY.as_secs())),
                progress_deadline: Some(ComposeDuration::from_secs(120)),
                failure_action: Some(self.action),
                canary: self.canary.then(|| Canary { weight: 10, hold: ComposeDuration::from_secs(10) }),
                ..Rollout::default()
            }),
            ..ServiceSpec::default()
        }
    }

    // The ruler's own arithmetic.
    pub(super) fn most(&self, wish: &Wish) -> usize {
        wish.replicas as usize + if self.stop_first { 0 } else { self.surge as usize }
    }

    pub(super) fn least(&self, wish: &Wish) -> usize {
        let surge = if self.stop_first { 0 } else { self.surge };
        let unavailable = if surge == 0 { self.unavailable.max(1) } else { self.unavailable };
        if wish.gone { 0 } else { wish.replicas.saturating_sub(unavailable) as usize }
    }
}
