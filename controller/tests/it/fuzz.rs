//! Hostile input by chance: documents, registries, forges, the engine and clients of the view, in a process that the kernel
//! holds to 256 MB. `FUZZ=n` goes on for n seconds in all; `FUZZ_SEED=surface:n` plays one input again.

mod documents;
pub(crate) mod engine;
mod mutate;
mod registry;
mod requests;

use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

/// What the process may take for all that it writes to, in kilobytes.
const MEMORY: &str = "262144";
/// How long it goes on without `FUZZ`, in seconds: long enough for each surface to be met.
const USUAL: u64 = 5;

/// No input may take longer, however busy the machine is.
const LONGEST: Duration = Duration::from_secs(45);

/// Where hostile input comes in.
const SURFACES: [&str; 5] = ["documents", "engine", "registry", "webhooks", "view"];

async fn play(surface: &str, seed: u64) {
    let rng = fastrand::Rng::with_seed(seed);
    match surface {
        "documents" => documents::play(rng),
        "engine" => engine::play(rng).await,
        "registry" => registry::play(rng).await,
        "webhooks" => requests::webhooks(rng).await,
        "view" => requests::view(rng).await,
        other => panic!("there is no surface {other}"),
    }
}

/// Runs [`child`] within its memory; what it has come to is shown, and a death is an error with the input that it died of.
#[test]
fn hostile_input_of_every_kind_is_survived_within_256_mb() {
    let dir = tempfile::tempdir().expect("a directory");
    let last = dir.path().join("last");
    let output = Command::new("sh")
        .args(["-c", "ulimit -d \"$1\" && shift && exec \"$@\"", "sh", MEMORY])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "fuzz::child", "--ignored", "--nocapture", "--test-threads", "1"])
        .env("FUZZ_LAST", &last)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("a shell");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let last = std::fs::read_to_string(last).unwrap_or_default();
    let tail: String = complained.chars().skip(complained.chars().count().saturating_sub(2000)).collect();
    assert!(output.status.success(), "{:?} at FUZZ_SEED={}\n{said}\n{tail}", output.status, last.trim());
    let figures: Vec<&str> = said.lines().filter_map(|line| line.find("fuzz: ").map(|at| &line[at..])).collect();
    assert_eq!(figures.len(), SURFACES.len(), "{said}");
    println!("{}", figures.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test above, in a process of its own"]
async fn child() {
    if let Ok(one) = std::env::var("FUZZ_SEED") {
        let (surface, seed) = one.split_once(':').expect("surface:seed");
        return play(surface, seed.trim().parse().expect("a number")).await;
    }
    let seconds = std::env::var("FUZZ").map_or(USUAL, |text| text.parse().expect("seconds"));
    let share = Duration::from_secs(seconds) / u32::try_from(SURFACES.len()).expect("few");
    let last = std::env::var("FUZZ_LAST").map(|path| std::fs::File::create(path).expect("a file")).ok();
    let first = fastrand::u64(..1 << 40);
    let current = std::sync::Arc::new(std::sync::Mutex::new(Instant::now()));
    let watched = std::sync::Arc::clone(&current);
    // What never ends is no better than what dies: nothing else can end it.
    std::thread::spawn(move || {
        while watched.lock().expect("no panic").elapsed() < LONGEST {
            std::thread::sleep(Duration::from_secs(1)); // The pace of looking.
        }
        eprintln!("one input takes longer than {LONGEST:?}");
        std::process::abort();
    });
    for surface in SURFACES {
        let (begin, mut inputs) = (Instant::now(), 0);
        while inputs < 10 || begin.elapsed() < share {
            let seed = first + inputs;
            if let Some(last) = &last {
                last.write_all_at(format!("{surface}:{seed:<20}\n").as_bytes(), 0).expect("written");
            }
            *current.lock().expect("no panic") = Instant::now();
            play(surface, seed).await;
            inputs += 1;
        }
        println!("fuzz: {surface}: {inputs} inputs in {:?}, at most {} MB resident", begin.elapsed(), peak() / 1024);
    }
}

/// The most memory that was resident, in kilobytes. Source: proc(5).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
