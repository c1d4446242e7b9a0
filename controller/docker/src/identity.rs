//! Who this process is, in facts that another process on the same or another host can check. Reads `/proc` and nothing
//! else; where there is none (macOS), the facts are missing and a leftover lock has to be removed by hand.

use std::{
    collections::BTreeMap,
    fs,
    hash::{BuildHasher as _, RandomState},
    process,
};

/// Facts about a process, as labels of its lock.
pub(super) type ProcessLabels = BTreeMap<String, String>;

/// Random, of this adapter alone.
pub(super) const HOLDER: &str = "dev.composed.holder";
/// The process id, in its own namespace.
pub(super) const PID: &str = "dev.composed.pid";
/// When that process started, in clock ticks since the boot: tells it from a later one with its number.
pub(super) const PID_START: &str = "dev.composed.pid-start";
/// Which boot of which kernel.
pub(super) const BOOT: &str = "dev.composed.boot";
/// Which process namespace `PID` counts in.
pub(super) const PID_NAMESPACE: &str = "dev.composed.pid-namespace";
/// The container that it runs in, if it does.
pub(super) const CONTAINER: &str = "dev.composed.container";
/// When that container's present run began.
pub(super) const CONTAINER_STARTED: &str = "dev.composed.container-started";
/// Whether the engine is reached by a socket file.
pub(super) const BY_SOCKET: &str = "dev.composed.by-socket";
/// The verb that it carries out.
pub(super) const COMMAND: &str = "dev.composed.command";
/// The host's name.
pub(super) const HOSTNAME: &str = "dev.composed.hostname";

/// The facts about this process. Each call makes another holder.
pub(super) fn facts(by_socket: bool) -> ProcessLabels {
    let mut facts = ProcessLabels::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            facts.insert(name.to_owned(), value);
        }
    };
    put(HOLDER, Some(random()));
    put(PID, Some(process::id().to_string()));
    put(PID_START, start_of(process::id()));
    put(BOOT, line("/proc/sys/kernel/random/boot_id"));
    put(PID_NAMESPACE, fs::read_link("/proc/self/ns/pid").ok().map(|path| path.display().to_string()));
    put(CONTAINER, fs::read_to_string("/proc/self/mountinfo").ok().and_then(|text| container_in(&text)));
    put(BY_SOCKET, Some(by_socket.to_string()));
    put(HOSTNAME, line("/proc/sys/kernel/hostname"));
    facts
}

/// When a process of this namespace started; `None` when it cannot be read.
pub(super) fn start_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command in parentheses may hold anything; field 22 is the 20th after it. Source: proc(5).
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19).map(str::to_owned)
}

/// Whether a process of this namespace lives, ours to signal or not.
pub(super) fn lives(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// The id of the container whose mounts these are: the engine mounts its `/etc/hostname` from
/// `…/containers/<id>/hostname`. Other mounts of containers are seen on the host, too. Source: `proc_pid_mountinfo(5)`:
/// the fourth word is the root of the mount, the fifth where it is mounted.
fn container_in(mountinfo: &str) -> Option<String> {
    let own = |line: &str| {
        let mut words = line.split(' ').skip(3);
        let (root, at) = (words.next()?, words.next()?);
        let (_, rest) = root.rsplit_once("/containers/").filter(|_| at == "/etc/hostname")?;
        let id = rest.strip_suffix("/hostname")?;
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
    };
    mountinfo.lines().find_map(own)
}

fn line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

pub(super) fn random() -> String {
    // Two independently seeded hashers: the standard library's own randomness, without a crate for it.
    let half = || RandomState::new().hash_one(process::id());
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_adapter_is_another_holder() {
        assert_ne!(facts(true).get(HOLDER), facts(true).get(HOLDER));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_known_by_its_start() {
        assert!(start_of(process::id()).is_some_and(|start| start.parse::<u64>().is_ok()));
        assert!(lives(process::id()));
        assert!(lives(1), "a process that we may not signal lives, too");
        assert!(!lives(u32::MAX) && !lives(4_194_304), "beyond the largest process id");
    }

    #[test]
    fn the_container_is_read_from_its_mounts() {
        let id = "0123456789abcdef".repeat(4);
        let mounts = format!(
            "100 99 0:1 / /proc rw\n101 99 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/a rw\n"
        );
        assert_eq!(container_in(&mounts), Some(id.clone()));
        let of_another = format!("1 2 0:5 / /var/lib/docker/containers/{id}/mounts/shm rw - tmpfs shm rw\n");
        assert_eq!(container_in(&of_another), None, "a host sees the mounts of its containers");
        assert_eq!(container_in("1 2 0:1 /containers/web/ / rw"), None);
    }
}
