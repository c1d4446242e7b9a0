//! What an answer of the engine means for the loop: look again, back off, or report. Decides by status code and, where
//! the engine uses one code for its own trouble and for the container's, by the text. Makes no calls.

use std::error::Error as _;

use bollard::errors::Error;
use composed_core::engine::EngineError;

/// What was asked, where that changes the meaning of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOrigin {
    /// To make or start something that people described: their description may be at fault.
    ForTheUser,
    /// To take away one container: what is wrong with it is wrong with no other.
    OfOne,
    /// Anything else.
    Plainly,
}

/// The engine's own trouble, even when the text also names the container: it may go away by itself.
const PASSING: &[&str] = &[
    "no space left on device",
    "connection refused",
    "deadline exceeded",
    "context canceled",
    "resource temporarily unavailable",
    "cannot allocate memory",
    "too many open files",
    "is shutting down",
    "ttrpc: closed",
];

/// Texts of a status 500 that are about what people asked for. Source: moby `daemon/start.go`, `daemon/errors.go`,
/// `libnetwork/portallocator`, runc and Docker Desktop ("mounts denied"); seen on 20.10.24 where marked in the tests.
const THE_CONTAINERS_OWN: &[&str] = &[
    "oci runtime",
    "executable file not found",
    "exec format error",
    "no such file or directory",
    "port is already allocated",
    "address already in use",
    "cannot assign requested address",
    "mounts denied",
    "not a directory",
    "unknown or invalid runtime",
    "unknown runtime",
    "gathering device information",
    "initialize logging driver",
    "could not select device driver",
    "user specified ip address",
    "no matching entries in passwd file",
    "unable to find user",
    "unable to find group",
    "network-scoped alias is supported only",
    "read-only file system",
    "invalid argument",
];

/// The reaction to an error. `Stale`, `Unavailable` or `Rejected`, with the engine's words.
pub(super) fn reaction(error: &Error, asked: CallOrigin) -> EngineError {
    let Error::DockerResponseServerError { status_code, message } = error else {
        return EngineError::Unavailable(chain(error));
    };
    let text = message.trim();
    match status_code {
        404 if asked == CallOrigin::ForTheUser && !may_come(text) => rejected(text),
        404 | 409 => EngineError::Stale(text.to_owned()),
        408 | 429 => EngineError::Unavailable(text.to_owned()),
        400..=499 | 501 => rejected(text),
        500 if asked == CallOrigin::ForTheUser && is_the_containers_own(text) => rejected(of_a_process(text)),
        500 if asked != CallOrigin::Plainly && !is_passing(text) => {
            EngineError::ServerError(format!("{text} (status 500)"))
        }
        _ => EngineError::Unavailable(format!("{text} (status {status_code})")),
    }
}

/// The reaction to a failed start. Here 404 and 409 may be about the command, unless the container itself is gone or on
/// its way out, or its network is gone, which the project's pass puts right.
pub(super) fn start_reaction(error: &Error) -> EngineError {
    let Some(text) = words(error, &[404, 409]) else {
        return reaction(error, CallOrigin::ForTheUser);
    };
    let lower = text.to_lowercase();
    let gone = [
        "no such container",
        "non running container",
        "non-running container",
        "marked for removal",
        "is already in progress",
        "is paused",
        // Whose namespaces it shares is between two runs of its restart policy.
        "is restarting",
    ];
    let no_network = lower.contains("network") && lower.contains("not found");
    if no_network || gone.iter().any(|phrase| lower.contains(phrase)) {
        return EngineError::Stale(text.to_owned());
    }
    rejected(text)
}

/// A host port that no container has, as far as the engine knows. Seen on 20.10.24 with the userland proxy.
fn of_a_process(text: &str) -> String {
    if text.to_lowercase().contains("address already in use") {
        return format!(
            "{text} (a process of this host has the port, and no container: stop it, or write another port)"
        );
    }
    text.to_owned()
}

/// The engine's words if it answered with one of these status codes.
pub(super) fn words<'a>(error: &'a Error, codes: &[u16]) -> Option<&'a str> {
    match error {
        Error::DockerResponseServerError { status_code, message } if codes.contains(status_code) => {
            Some(message.trim())
        }
        _ => None,
    }
}

/// A refusal that no repetition will change.
pub(super) fn rejected(message: impl Into<String>) -> EngineError {
    EngineError::Rejected { message: message.into(), name_taken: false }
}

/// An error with its causes: the client's own text says only `client error (Connect)`.
pub(super) fn chain(error: &Error) -> String {
    let mut text = error.to_string().replace("Error in the hyper legacy client: ", "");
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        // Transparent wrappers repeat the text of what they wrap.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = next.source();
    }
    text
}

/// Whether what was not found is something that another pass brings. Anything else, such as a driver or an image of the
/// wanted platform, does not come by looking again.
fn may_come(text: &str) -> bool {
    let lower = text.to_lowercase();
    let any = ["no such image", "no such container", "no such volume"].iter().any(|phrase| lower.contains(phrase));
    any || (lower.contains("network") && lower.contains("not found") && !lower.contains("plugin"))
}

fn is_the_containers_own(text: &str) -> bool {
    !is_passing(text) && has_one(text, THE_CONTAINERS_OWN)
}

fn is_passing(text: &str) -> bool {
    has_one(text, PASSING)
}

fn has_one(text: &str, phrases: &[&str]) -> bool {
    let lower = text.to_lowercase();
    phrases.iter().any(|phrase| lower.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    fn kind(error: &EngineError) -> &'static str {
        match error {
            EngineError::Stale(_) => "stale",
            EngineError::Unavailable(_) => "unavailable",
            EngineError::ServerError(_) => "server error",
            EngineError::Rejected { .. } => "rejected",
        }
    }

    #[test]
    fn each_answer_has_its_reaction() {
        let table = [
            (400, "invalid reference format", "rejected"),
            (401, "unauthorized", "rejected"),
            (403, "network has active endpoints", "rejected"),
            (404, "No such image: a:1", "stale"),
            (404, "network shop_default not found", "stale"),
            (404, "create data: error looking up volume plugin nope: plugin \"nope\" not found", "rejected"),
            (404, "image with reference a:1 was found but does not match the specified platform", "rejected"),
            (409, "removal of container x is already in progress", "stale"),
            (429, "toomanyrequests", "unavailable"),
            (500, "driver failed: Bind for 0.0.0.0:80 failed: port is already allocated", "rejected"),
            (500, "OCI runtime create failed: no space left on device", "unavailable"),
            (
                500,
                "container x: driver \"overlay2\" failed to remove root filesystem: device or resource busy",
                "server error",
            ),
            (500, "dial unix containerd.sock: connect: no such socket", "server error"),
            (503, "the engine is shutting down", "unavailable"),
        ];
        for (status, text, expected) in table {
            assert_eq!(kind(&reaction(&answer(status, text), CallOrigin::ForTheUser)), expected, "{status} {text}");
        }
        let plain = reaction(&answer(500, "OCI runtime state failed"), CallOrigin::Plainly);
        assert_eq!(kind(&plain), "unavailable");
    }

    #[test]
    fn a_port_that_a_process_of_the_host_has_is_told() {
        let text = "Error starting userland proxy: listen tcp4 127.0.0.1:8080: bind: address already in use";
        let refused = start_reaction(&answer(500, text));
        assert!(refused.to_string().contains("a process of this host has the port, and no container"), "{refused}");
    }

    #[test]
    fn a_start_is_refused_by_404_unless_the_container_is_gone() {
        assert_eq!(kind(&start_reaction(&answer(404, "exec: \"/app\": not found"))), "rejected");
        assert_eq!(kind(&start_reaction(&answer(404, "network abc not found"))), "stale");
        assert_eq!(kind(&start_reaction(&answer(404, "No such container: abc"))), "stale");
        assert_eq!(kind(&start_reaction(&answer(409, "container is marked for removal"))), "stale");
        // Seen on 20.10.24.
        let restarts = "Container abc is restarting, wait until the container is running";
        assert_eq!(kind(&start_reaction(&answer(409, restarts))), "stale");
        assert_eq!(kind(&start_reaction(&Error::RequestTimeoutError)), "unavailable");
    }
}
