//! Rollouts by hand, as people make them without composed: new containers beside the old ones, then the old ones stopped.

use std::path::PathBuf;

use crate::proxy::LABELS;
use crate::world::World;
use crate::{millis, secs, that, within};

/// A healthcheck that has failed so often is believed.
const RETRIES: u32 = 1;
/// From the failing healthcheck to the stop, as docker-rollout's documentation has it.
const DRAIN: std::time::Duration = secs(10);

/// The replicas of a service that are made and ended by hand.
#[derive(Debug)]
pub struct Hand<'w> {
    world: &'w World,
    image: String,
    network: String,
    running: Vec<String>,
    made: u32,
    sick: PathBuf,
}

impl<'w> Hand<'w> {
    /// None yet.
    pub fn new(world: &'w World, image: &str) -> Self {
        let network = format!("{}_default", world.project);
        world.docker.run(&["network", "create", &network]);
        // The healthcheck's command needs no shell only if the image has it.
        let checked = format!("{image}-checked");
        let seed = world.docker.run(&["create", image]);
        let check = format!(
            r#"HEALTHCHECK --interval=500ms --timeout=3s --start-period=1s --retries={RETRIES} CMD ["/composed","demo-app","check"]"#
        );
        world.docker.run(&["commit", "--change", &check, &seed, &checked]);
        world.docker.run(&["rm", &seed]);
        let sick = world.path("sick");
        std::fs::write(&sick, "").expect("a file for the containers");
        Self { world, image: checked, network, running: Vec::new(), made: 0, sick }
    }

    /// Starts as many of a version beside those that run, waits until Docker says that they are healthy, and stops the others:
    /// at once, or with `drain` after their healthcheck has failed for 10 s.
    pub fn rollout(&mut self, version: &str, replicas: u32, drain: bool) {
        let docker = &self.world.docker;
        let old = std::mem::take(&mut self.running);
        for _ in 0..replicas {
            self.made += 1;
            let name = format!("{}-web-{}", self.world.project, self.made);
            let version = format!("VERSION={version}");
            let mut words = vec!["run", "--detach", "--name", &name, "--network", &self.network, "--env", &version];
            words.extend(["--env", "ON_TERM=die", "--env", "LATENCY_MS=100", "--env", "SICK_FILE=/sick"]);
            let labels = LABELS.map(|(name, value)| format!("{name}={value}"));
            words.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
            words.push(&self.image);
            self.running.push(docker.run(&words));
        }
        within(secs(60), "the new ones are healthy", || {
            let healthy =
                |id: &String| docker.run(&["inspect", "--format", "{{.State.Health.Status}}", id]) == "healthy";
            that(self.running.iter().all(healthy), || "not yet".to_owned())
        });
        if drain {
            for id in &old {
                docker.run(&["cp", &self.sick.display().to_string(), &format!("{id}:/sick")]);
            }
            std::thread::sleep(if old.is_empty() { millis(0) } else { DRAIN });
        }
        for id in &old {
            docker.run(&["stop", id]);
            docker.run(&["rm", id]);
        }
    }
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        for id in &self.running {
            drop(self.world.docker.output(&["rm", "--force", id]));
        }
        drop(self.world.docker.output(&["network", "rm", &self.network]));
    }
}
