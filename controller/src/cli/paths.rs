//! Starts what tells proxies who serves, as the command line asks for it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use composed_platform::listen::{Exposed, Hosts, warn_if_wide};
use composed_status::store::StatusStore;
use composed_traffic::names::Names;
use composed_traffic::paths::TrafficProvider;
use composed_traffic::traefik::{Traefik, TraefikOptions};
use composed_traffic::view;

use super::args::paths::Paths;

/// An address that is not there yet, such as that of a network to be made, is tried again after so long.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// The paths, begun: they serve until the process ends. `names` is where it is remembered whose name in Traefik is whose.
pub(super) fn begin(
    args: &Paths,
    allow_hosts: &[String],
    statuses: &Arc<StatusStore>,
    names: Option<&PathBuf>,
) -> Vec<Arc<dyn TrafficProvider>> {
    let traefik = |by_file| {
        let (throttle, api, names) = (args.traefik_throttle, args.traefik_api.clone(), names.cloned());
        let traefik = Traefik::new(Arc::clone(statuses), TraefikOptions { throttle, by_file, api, names });
        tokio::spawn(Arc::clone(&traefik).keep_asking());
        traefik
    };
    let mut paths: Vec<Arc<dyn TrafficProvider>> = Vec::new();
    if !args.dns.is_empty() {
        let names = Names::new(Arc::clone(statuses), args.dns_cache);
        for address in args.dns.iter().copied() {
            let names = Arc::clone(&names);
            warn_if_wide(address, Exposed::Names);
            tokio::spawn(again("DNS answers", address, move || Arc::clone(&names).serve(address)));
        }
        paths.push(names);
    }
    if let Some(file) = args.traefik_file.clone() {
        let traefik = traefik(true);
        tokio::spawn(Arc::clone(&traefik).keep_file(file));
        paths.push(traefik);
    }
    if let Some(address) = args.traefik_http {
        let traefik = traefik(false);
        let (answers, hosts) = (Arc::clone(&traefik), Hosts::new(allow_hosts));
        traefik.answers_for(hosts.clone());
        warn_if_wide(address, Exposed::Routing);
        let serve = move || {
            let answers = Arc::clone(&answers);
            composed_api::serve_json(address, hosts.clone(), Arc::new(move || answers.poll()))
        };
        tokio::spawn(again("Traefik's configuration", address, serve));
        paths.push(traefik);
    }
    paths
}

/// What is asked of the endpoint view, if it is asked for.
pub(super) fn view(args: &Paths) -> Option<view::ViewOptions> {
    let options = view::ViewOptions {
        labels: args.view_labels.clone(),
        throttle: args.traefik_throttle,
        traefik: args.traefik_api.clone(),
    };
    args.view.is_some().then_some(options)
}

/// Serves, and begins anew when that ends; why it does is said once.
pub(super) async fn again<F: Future<Output = io::Result<()>>>(what: &str, address: SocketAddr, serve: impl Fn() -> F) {
    let mut said = None;
    loop {
        let ended = serve().await;
        let why = ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
        if said.as_ref() != Some(&why) {
            tracing::error!(%address, error = why, "{what} cannot be served there; trying again every {RETRY_INTERVAL:?}");
            said = Some(why);
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}
