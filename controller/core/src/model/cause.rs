//! Why a replica has ended or is not well, in one sentence for people, from the facts that the engine keeps: the exit code and
//! what it means, that memory ran out, what the healthcheck said last. Values of secrets are hidden.

use crd_schema::{Hook, ServiceSpec};

use super::{HookFailure, Replica, State};
use crate::redact::without_secrets;

/// So many of the last lines of a healthcheck or a hook are shown.
const SHOWN_LINES: usize = 3;

/// `shop-web-1 exited with code 137: it was killed (SIGKILL)`.
pub fn describe_exit(replica: &Replica) -> String {
    let name = &replica.name;
    let State::Exited(code) = replica.state else { return format!("{name} has ended") };
    format!("{name} exited with code {code}{}", meaning(replica, code))
}

/// `: it was killed (SIGKILL)` of 137; nothing of a code that is the application's own.
pub fn meaning(replica: &Replica, code: i64) -> String {
    if replica.out_of_memory {
        return ": out of memory (mem_limit, or the host's)".to_owned();
    }
    // Source: docker run, "Exit status"; POSIX shells: 128 and the signal's number.
    let what = match code {
        125 => "the engine could not run it",
        126 => "its command cannot be executed",
        127 => "its command was not found",
        131 => "ended by SIGQUIT",
        132 => "it crashed (SIGILL)",
        134 => "it crashed (SIGABRT)",
        135 => "it crashed (SIGBUS)",
        136 => "it crashed (SIGFPE)",
        137 => "it was killed (SIGKILL)",
        139 => "it crashed (SIGSEGV)",
        143 => "ended by SIGTERM",
        _ => return String::new(),
    };
    format!(": {what}")
}

/// `is unhealthy: its healthcheck ended with code 1: connection refused`. Without the specification it was made of nobody knows
/// what to hide in what the healthcheck wrote, so that is left out.
pub fn describe_unhealthy(replica: &Replica, spec: Option<&ServiceSpec>) -> String {
    let Some(check) = &replica.failed_check else { return "is unhealthy".to_owned() };
    let ended = match check.code {
        code if code < 0 => "takes longer than its timeout".to_owned(),
        // An engine's words for a command that it could not begin, such as one that is not in the image.
        code @ (126 | 127) => format!("cannot be run (code {code})"),
        code => format!("ended with code {code}"),
    };
    let lines = spec.map_or_else(Vec::new, |spec| without_secrets(&check.output, spec, None));
    format!("is unhealthy: its healthcheck {ended}{}", last_lines(&lines))
}

/// `` `sh` exited with code 3: connection refused``. As of healthchecks, what it wrote is left out where nobody knows what to hide.
pub fn describe_hook_failure(failure: &HookFailure, hooks: &[Hook], spec: Option<&ServiceSpec>) -> String {
    let secrets = || hooks.iter().map(|hook| &hook.environment);
    let lines = spec.map_or_else(Vec::new, |spec| without_secrets(&failure.output, spec, secrets()));
    format!("{}{}", failure.why, last_lines(&lines))
}

/// `: connection refused | giving up` of the last lines of an output in which nothing has to be hidden any more.
pub fn last_lines(lines: &[String]) -> String {
    let said = lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default().join(" | ");
    if said.is_empty() { said } else { format!(": {said}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crd_schema::Environment;

    use super::super::FailedCheck;
    use super::*;

    fn replica(state: State) -> Replica {
        let text = serde_json::json!({
            "id": "1", "name": "shop-web-1", "number": 1, "service": {"project": "shop", "name": "web"}, "revision": "r",
            "generation": 1, "created_at": "2026-01-01T00:00:00Z", "state": "running",
        });
        Replica { state, ..serde_json::from_value(text).expect("a replica") }
    }

    #[test]
    fn an_end_says_what_its_code_means() {
        let said =
            |code: i64, out_of_memory: bool| describe_exit(&Replica { out_of_memory, ..replica(State::Exited(code)) });
        let golden = [
            (3, false, "shop-web-1 exited with code 3"),
            (126, false, "shop-web-1 exited with code 126: its command cannot be executed"),
            (127, false, "shop-web-1 exited with code 127: its command was not found"),
            (137, false, "shop-web-1 exited with code 137: it was killed (SIGKILL)"),
            (137, true, "shop-web-1 exited with code 137: out of memory (mem_limit, or the host's)"),
            (139, false, "shop-web-1 exited with code 139: it crashed (SIGSEGV)"),
            (143, false, "shop-web-1 exited with code 143: ended by SIGTERM"),
        ];
        for (code, out_of_memory, sentence) in golden {
            assert_eq!(said(code, out_of_memory), sentence);
        }
        assert_eq!(describe_exit(&replica(State::Dead)), "shop-web-1 has ended");
    }

    #[test]
    fn a_hook_says_what_it_wrote_without_secrets() {
        let environment = |value: &str| Environment(BTreeMap::from([("KEY".to_owned(), value.to_owned())]));
        let spec = ServiceSpec { environment: environment("hunter2"), ..ServiceSpec::default() };
        let hooks = ["first-one", "other-one"].map(|own| Hook { environment: environment(own), ..Hook::default() });
        let output = ["hunter2", "first-one", "a other-one b", "no route"].map(str::to_owned).to_vec();
        let failure = HookFailure { why: "`sh` exited with code 3".to_owned(), output };
        assert_eq!(
            describe_hook_failure(&failure, &hooks, Some(&spec)),
            "`sh` exited with code 3: *** | a *** b | no route"
        );
        assert_eq!(describe_hook_failure(&failure, &hooks, None), "`sh` exited with code 3");
    }

    #[test]
    fn a_healthcheck_says_what_it_wrote_without_secrets() {
        let environment = Environment(BTreeMap::from([("KEY".to_owned(), "hunter2".to_owned())]));
        let spec = ServiceSpec { environment, ..ServiceSpec::default() };
        let said = |code: i64, output: &[&str], spec: Option<&ServiceSpec>| {
            let output = output.iter().map(|line| (*line).to_owned()).collect();
            let failed_check = Some(FailedCheck { code, output });
            describe_unhealthy(&Replica { failed_check, ..replica(State::Running) }, spec)
        };
        assert_eq!(describe_unhealthy(&replica(State::Running), Some(&spec)), "is unhealthy");
        assert_eq!(
            said(1, &["connection refused"], Some(&spec)),
            "is unhealthy: its healthcheck ended with code 1: connection refused"
        );
        assert_eq!(said(-1, &[], Some(&spec)), "is unhealthy: its healthcheck takes longer than its timeout");
        assert_eq!(
            said(127, &["exec: \"curl\": not found"], Some(&spec)),
            "is unhealthy: its healthcheck cannot be run (code 127): exec: \"curl\": not found"
        );
        assert_eq!(
            said(1, &["a", "b", "", "login with hunter2", "denied"], Some(&spec)),
            "is unhealthy: its healthcheck ended with code 1: b | login with *** | denied"
        );
        assert_eq!(said(1, &["hunter2"], None), "is unhealthy: its healthcheck ended with code 1");
    }
}
