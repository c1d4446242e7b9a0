//! What the end of a replica means: that its work is done, that it is over, or that another one is made in its place. As the
//! restart policies of Compose, of the engine and of Swarm say.

use crd_schema::{RestartPolicy, ServiceSpec};

use super::{DesiredService, Replica, State, describe_exit};

/// What the end of a replica means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It has done what it was made for: it is not run again.
    Completed,
    /// It has failed, and its restart policy has no further run for it.
    Spent,
    /// Another one is made in its place.
    Again,
}

impl DesiredService {
    /// Whether it is a job: a replica of it that ends with code 0 has done its work.
    ///
    /// That is what `restart: "no"` and `on-failure` say where they are written (compose-spec 05-services, "restart"; Swarm's
    /// `none` and `on-failure`), and what a dependant with `service_completed_successfully` waits for.
    pub fn is_job(&self) -> bool {
        self.one_shot || is_job(&self.spec)
    }
}

/// Whether its own restart policy says that an end with code 0 is its end. A service that is there to answer requests has no
/// such end under `on-failure`: the engine ends it with code 0, too, when the host goes down.
fn is_job(spec: &ServiceSpec) -> bool {
    match spec.restart {
        Some(RestartPolicy::No) => true,
        Some(RestartPolicy::OnFailure(_)) => !answers_requests(spec),
        Some(RestartPolicy::Always | RestartPolicy::UnlessStopped) | None => false,
    }
}

fn answers_requests(spec: &ServiceSpec) -> bool {
    let checked = spec.healthcheck.as_ref().is_some_and(|check| !check.disable);
    checked || spec.readiness.is_some() || spec.front.is_some() || spec.traffic.is_some() || !spec.ports.is_empty()
}

/// What the end of `replica` means, which was made of `spec`. With `one_shot`, another service waits for it to complete. `None`:
/// it has not ended.
///
/// ```text
/// restart    no         on-failure   on-failure:3               always, unless-stopped, not written
/// code 0     Completed  Completed    Completed                  Again (Completed where a dependant waits for that)
/// code 1     Spent      Again        Spent after three restarts Again
/// ```
pub fn ending(replica: &Replica, spec: &ServiceSpec, one_shot: bool) -> Option<Ending> {
    let State::Exited(code) = replica.state else {
        return (replica.state == State::Dead).then_some(Ending::Again);
    };
    // `docker stop` says nothing of the work of what is to be restarted.
    let told = replica.stopped_externally && spec.restart != Some(RestartPolicy::No);
    Some(match spec.restart {
        _ if code == 0 && (one_shot || (is_job(spec) && !told)) => Ending::Completed,
        Some(RestartPolicy::No) if code != 0 => Ending::Spent,
        Some(RestartPolicy::OnFailure(Some(times))) if code != 0 && times > 0 && replica.restart_count >= times => {
            Ending::Spent
        }
        _ => Ending::Again,
    })
}

/// The end of one that has failed for good, for people.
pub fn describe_spent(replica: &Replica, spec: &ServiceSpec) -> String {
    let policy = match (spec.restart, spec.max_restarts()) {
        (Some(policy), _) if spec.restart_policy.is_none() => {
            format!(", and `restart: {policy}` has no further run for it")
        }
        (_, Some(times)) => format!(", and after {times} further runs its restart_policy has no other for it"),
        _ => String::new(),
    };
    describe_exit(replica) + &policy
}
