//! What the engine says of the state of a container, in words of our own. Pure.

use bollard::models::{ContainerState, ContainerStateStatusEnum as Status, HealthStatusEnum};
use composed_core::model::{FailedCheck, Health, State};
use jiff::Timestamp;

/// More lines of a healthcheck are not taken in; the engine keeps 4 KiB of each run.
const MAX_CHECK_LINES: usize = 100;

/// Since when the namespaces of a container are what they are; `None`: they have ended. Between two runs of its restart
/// policy those of the last one have, and the next ones come by themselves.
pub(super) fn since(current: Option<&ContainerState>) -> Option<Timestamp> {
    let began = time(current?.started_at.as_deref());
    match state(current) {
        State::Restarting => time(current?.finished_at.as_deref()).max(began),
        State::Running | State::Paused => began,
        _ => None,
    }
}

/// What the engine says a container is doing.
pub(super) fn state(state: Option<&ContainerState>) -> State {
    let status = state.and_then(|state| state.status).unwrap_or(Status::EMPTY);
    match status {
        Status::CREATED | Status::EMPTY => State::Created,
        // `stopping` is Podman's: the process still lives.
        Status::RUNNING | Status::STOPPING => State::Running,
        Status::PAUSED => State::Paused,
        Status::RESTARTING => State::Restarting,
        Status::REMOVING => State::Removing,
        Status::EXITED => State::Exited(state.and_then(|state| state.exit_code).unwrap_or(0)),
        Status::DEAD => State::Dead,
    }
}

/// What its healthcheck says.
pub(super) fn health(state: Option<&ContainerState>) -> Health {
    match state.and_then(|state| state.health.as_ref()).and_then(|health| health.status) {
        None | Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) => Health::None,
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
    }
}

/// The last run of its healthcheck, if that failed.
pub(super) fn failed_check(state: Option<&ContainerState>) -> Option<FailedCheck> {
    let last = state?.health.as_ref()?.log.as_ref()?.last()?;
    let code = last.exit_code.filter(|code| *code != 0)?;
    let output = last.output.as_deref().unwrap_or_default();
    Some(FailedCheck { code, output: output.lines().take(MAX_CHECK_LINES).map(str::to_owned).collect() })
}

/// Which run of a container it is whose last words say why it is not well; `None`: it is well, or somebody has told it to stop.
pub(super) fn failed_run(current: Option<&ContainerState>, restart_count: Option<i64>) -> Option<String> {
    // What a stop ends, most images answer with.
    const STOPPED: i64 = 143;
    let failed = match state(current) {
        State::Exited(code) => code != 0 && code != STOPPED,
        State::Restarting | State::Dead => true,
        State::Running => health(current) == Health::Unhealthy,
        State::Created | State::Paused | State::Removing => false,
    };
    let current = current.filter(|_| failed)?;
    let check = current.health.as_ref().and_then(|health| health.log.as_ref()?.last()?.end.clone());
    Some(format!("{:?} {:?} {restart_count:?} {check:?}", current.started_at, current.finished_at))
}

/// The engine's time; its zero, year 1, is none.
pub(super) fn time(text: Option<&str>) -> Option<Timestamp> {
    text.filter(|text| !text.starts_with("0001-")).and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zero_time_is_none() {
        assert_eq!(time(Some("0001-01-01T00:00:00Z")), None);
        assert_eq!(time(Some("2026-11-22T10:00:00.123456789Z")), "2026-11-22T10:00:00.123456789Z".parse().ok());
    }

    #[test]
    fn a_state_is_the_engines_word() {
        let of = |status: &str, code: i64| {
            let json = serde_json::json!({"Status": status, "ExitCode": code});
            state(Some(&serde_json::from_value(json).expect("a state")))
        };
        assert_eq!(of("created", 0), State::Created);
        assert_eq!(of("running", 0), State::Running);
        assert_eq!(of("exited", 137), State::Exited(137));
        assert_eq!(of("removing", 0), State::Removing);
        assert_eq!(of("dead", 0), State::Dead);
    }
}
