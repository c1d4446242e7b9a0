//! The figures that composed promises, as ratios within one run: `cargo bench -p composed`. The parts that need a Docker
//! Engine say so and are left out where none answers.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

mod docker;
mod probes;
mod scale;

fn main() {
    let only = std::env::args().nth(1).filter(|word| !word.starts_with('-'));
    let wanted = |name: &str| only.as_ref().is_none_or(|only| only == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        if let Some(count) = std::env::args().nth(2).filter(|_| only.as_deref() == Some("scale-of")) {
            return scale::run_one(&count).await;
        }
        if wanted("scale") {
            let counts: Vec<_> = std::env::args().skip(2).filter_map(|word| word.parse().ok()).collect();
            scale::run(&counts);
        }
        if wanted("probes") {
            probes::run().await;
        }
        if ["save", "commit", "tag", "rollout", "idle"].iter().any(|name| wanted(name)) {
            docker::run(&wanted).await;
        }
    });
}
