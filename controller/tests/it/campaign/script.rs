//! What happens in a play, and when: all of it follows from the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use composed_source::files::Reading;
use crd_schema::ImageRef;
use fastrand::Rng;

/// The services, by project and name. Nothing fails of the last one.
pub(super) const SERVICES: [(&str, &str); 4] = [("shop", "a"), ("blog", "b"), ("shop", "c"), ("blog", "bystander")];

/// The place of the last one.
pub(super) const LAST_ONE: usize = SERVICES.len() - 1;

/// What a document asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// The version of its image; 0 is one that ends at once.
    pub(super) version: u32,
    pub(super) replicas: u32,
    more: String,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Another version, and so many replicas.
    Edit(usize, Wish),
    /// Its document is gone.
    Remove(usize),
    Pause(usize),
    Resume(usize),
    RollOut(usize),
    Undo(usize),
    /// One of its containers ends.
    Kill(usize),
    Crash,
    /// For so long nothing can be written.
    DiskIsFull(Duration),
}

pub(super) struct Script {
    pub(super) wishes: Vec<Wish>,
    pub(super) events: Vec<(Duration, Event)>,
}

/// What is changed until then; then everything works, and the rest is waited for.
const LAST: u64 = 45_000;

impl Script {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let wishes: Vec<Wish> = SERVICES.iter().map(|(_, name)| wish(name, rng)).collect();
        let mut now = wishes.clone();
        let mut times: Vec<u64> = (0..rng.u64(3..8)).map(|_| rng.u64(6000..LAST)).collect();
        times.sort_unstable();
        let mut version = 1;
        let (mut removed, mut killed) = (false, [false; LAST_ONE]);
        let mut events = Vec::new();
        for at in times {
            let of = rng.usize(..LAST_ONE);
            let event = match rng.u8(..16) {
                0..=3 | 15 => {
                    version += 1;
                    let bad = rng.u8(..6) == 0;
                    let replicas = if rng.bool() { now[of].replicas } else { rng.u32(1..4) };
                    let next = Wish { version: if bad { 0 } else { version }, replicas, ..now[of].clone() };
                    now[of] = next.clone();
                    Event::Edit(of, next)
                }
                4 if of != 0 && !removed => {
                    removed = true;
                    Event::Remove(of)
                }
                4 | 5 => Event::Pause(of),
                6 => Event::Resume(of),
                7 => Event::RollOut(of),
                8 | 9 => Event::Undo(of),
                10 if !std::mem::replace(&mut killed[of], true) => Event::Kill(of),
                11 | 12 => Event::Crash,
                13 => Event::DiskIsFull(Duration::from_millis(rng.u64(500..15_000))),
                _ => Event::Pause(rng.usize(..LAST_ONE)),
            };
            events.push((Duration::from_millis(at), event));
        }
        // In the middle of it all somebody else wants something.
        let next = Wish { version: version + 1, ..now[LAST_ONE].clone() };
        events.push((Duration::from_millis(rng.u64(12_000..LAST)), Event::Edit(LAST_ONE, next)));
        events.sort_by_key(|(at, _)| *at);
        Self { wishes, events }
    }
}

fn wish(name: &str, rng: &mut Rng) -> Wish {
    let mut more = String::new();
    for (text, chance) in [
        ("  restart: unless-stopped\n", 0.4),
        ("  healthcheck: {test: [CMD, check], interval: 1s, retries: 3, start_period: 3s}\n", 0.5),
        ("  volumes: [\"data:/data:ro\"]\n", 0.2),
    ] {
        if rng.f64() < chance {
            more += text;
        }
    }
    if name == "c" && rng.bool() {
        more += "  depends_on: {a: {condition: service_started}}\n";
    }
    Wish { version: 1, replicas: rng.u32(1..4), more }
}

impl Wish {
    pub(super) fn image(&self) -> ImageRef {
        ImageRef::new(if self.version == 0 { "bad:1".to_owned() } else { format!("app:{}", self.version) })
    }

    /// Whether it comes after the first one.
    pub(super) fn waits(&self) -> bool {
        self.more.contains("depends_on")
    }

    fn document(&self, project: &str, name: &str) -> String {
        let (image, replicas, more) = (self.image(), self.replicas, &self.more);
        format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: {project}, name: {name}}}\nspec:\n  image: \
             \"{image}\"\n  replicas: {replicas}\n  drain_timeout: 5s\n  rollout: {{order: start-first, min_ready: 1s, max_surge: \
             1}}\n{more}"
        )
    }
}

/// The files of those that are wanted, by their place in `SERVICES`.
pub(super) fn reading(wishes: &BTreeMap<usize, Wish>) -> Reading {
    let service = |(at, wish): (&usize, &Wish)| {
        let (project, name) = SERVICES[*at];
        (format!("{project}-{name}.yaml"), Ok(wish.document(project, name).into_bytes().into()))
    };
    let project = |name: &str| {
        let text = format!(
            "apiVersion: composed.dev/v1\nkind: Project\nmetadata: {{name: {name}}}\nspec: {{volumes: {{data: {{}}}}}}\n"
        );
        (format!("{name}.yaml"), Ok(text.into_bytes().into()))
    };
    let files = wishes.iter().map(service).chain([project("shop"), project("blog")]).collect();
    Reading { files, ..Reading::default() }
}
