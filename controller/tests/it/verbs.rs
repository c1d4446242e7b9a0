//! What the command line comes to, before anything is done.

use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use composed::cli::args::{Cli, CliCommand, Compose};
use composed::cli::session::{Session, TrafficPaths};
use composed::cli::{places, run};
use composed_source::files::HostDir;

fn parsed(words: &[&str]) -> Cli {
    Cli::try_parse_from(["composed"].iter().chain(words)).unwrap()
}

#[tokio::test]
async fn a_state_directory_that_was_asked_for_must_be_there_and_looking_makes_none() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("state");
    let words = |state: &str| ["plan", "x", "--engine", "simulated", "--state-dir", state].map(str::to_owned);
    let common = |state: &Path| {
        let words = words(state.to_str().unwrap());
        parsed(&words.each_ref().map(String::as_str)).common
    };
    drop(Session::look(&common(&missing), &Arc::default()).await.unwrap());
    assert!(!missing.exists());
    let Err(error) =
        Session::open(&common(Path::new("/dev/null/state")), &Arc::default(), TrafficPaths::default()).await
    else {
        panic!("it cannot be made")
    };
    assert!(error.to_string().contains("/dev/null/state"), "{error}");
}

#[test]
fn defaults_are_of_the_instance_and_of_the_host() {
    let blue = parsed(&["plan", "x", "--instance", "blue", "--host", "unix:///var/run/docker.sock"]).common;
    if let Some(dir) = places::state_dir(&blue) {
        assert!(dir.ends_with("composed/blue"), "{}", dir.display());
    }
    let common = parsed(&["plan", "x", "--host-dir", "/srv/desired"]).common;
    let source = places::source(Some(Path::new("x")), &Compose::default(), &common);
    assert_eq!(source.host, HostDir::At("/srv/desired".into()));
}

#[tokio::test]
async fn an_address_that_is_refused_leaves_the_socket_of_another_alone() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let path = socket.to_str().unwrap();
    let words = ["run", "x", "--engine", "simulated", "--socket", path, "--listen", "0.0.0.0:9797"];
    let cli = parsed(&words);
    let CliCommand::Run(args) = cli.verb else { panic!("run") };
    run::run(args, &cli.common).await.unwrap();
    assert!(socket.exists());
}
