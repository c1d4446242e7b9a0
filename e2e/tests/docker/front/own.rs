//! A HAProxy of people's own.

use super::*;

/// A HAProxy of people's own on this host, ended when dropped.
struct Own(std::process::Child);

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn s23_a_haproxy_of_ones_own() {
    scenario("23 own HAProxy", secs(240), |world| {
        // The program of this host; the image is not used.
        if haproxy_or_skip("23 own HAProxy").is_none() {
            return;
        }
        let (at, socket, config) = (free_port(), world.path("admin.sock"), world.path("haproxy.cfg"));
        let text = format!(
            "global\n  stats socket {} level admin\n  stats timeout 1h\ndefaults\n  mode http\n  timeout connect 2s\n  \
             timeout client 1m\n  timeout server 1m\n  retries 3\n  option redispatch 1\nfrontend in\n  bind {at}\n  \
             default_backend web\nbackend web\n  balance leastconn\n  server theirs 127.0.0.1:9 disabled\n",
            socket.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = std::process::Command::new("haproxy").arg("-db").arg("-f").arg(&config).spawn().unwrap();
        e2e::program::janitor(child.id());
        let own = Own(child);
        let web = web(at, 2, "http", "")
            .without("front")
            .key("ports", "[]")
            .key("expose", "[\"8080\"]")
            .key("traffic", &format!("{{haproxy: {{socket: {}, backend: web, server_port: 8080}}}}", socket.display()));
        world.write(&web);
        let controller = Controller::start(world);
        let revision = controller.converged("web", "", secs(60));
        let strategy = controller.status("web").unwrap()["strategy"].as_str().unwrap().to_owned();
        assert!(strategy.contains("HAProxy at"), "{strategy}");
        open(at);
        let load = Load::start(at, "/", RATE, Use::Mixed);
        rollouts(world, &controller, &web, 2, revision);
        none_failed("own HAProxy, 2 replicas, 3 rollouts", &load.stop());
        drop(own);
    });
}
