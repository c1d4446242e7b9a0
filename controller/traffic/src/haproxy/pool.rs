//! The servers of one backend: what is there and what is wanted make commands. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::runtime::{Admin, Server};

/// The weight of a server, unless it is to have another.
pub(super) const WEIGHT: u32 = 100;
/// A server that is added while HAProxy runs closes its connections after each request, unless it is told what others have
/// by default: to keep those that are free for the next request (haproxy 2.6 `cli_parse_add_server`; measured: a third of
/// the CPU for each request). In this state a removal closes them.
const REUSE: &str = " pool-purge-delay 5s pool-max-conn -1";
/// The most that HAProxy takes.
pub(super) const MOST_WEIGHT: u32 = 256;

/// A backend, and how its servers are called and reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    /// Its name.
    pub(super) backend: String,
    /// What the names of our servers begin with; a container's short id follows.
    pub(super) prefix: String,
    /// Words after the address in `add server`.
    pub(super) options: &'static str,
    /// Clients may belong to a server: one that drains would still get their requests, so it goes into maintenance,
    /// which lets requests under way end, too.
    pub(super) persistent: bool,
}

/// What is wanted of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DesiredServer {
    pub(super) address: SocketAddr,
    pub(super) state: ServerIntent,
    pub(super) weight: u32,
}

/// What a server is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerIntent {
    /// Take requests.
    Serve,
    /// Finish what it has.
    Leave,
    /// What it does now: it is not known yet.
    Stay,
}

/// By container short id. Those that are not among them are to be gone.
pub(super) type Servers = BTreeMap<String, DesiredServer>;

impl Pool {
    /// The container that a server of ours stands for; servers of others are none of our business.
    pub(super) fn container<'s>(&self, server: &'s Server) -> Option<&'s str> {
        self.of(&server.backend, &server.name)
    }

    /// The container that a server of ours stands for, by the names of its backend and its own.
    pub(super) fn of<'s>(&self, backend: &str, server: &'s str) -> Option<&'s str> {
        let id = server.strip_prefix(&self.prefix).filter(|_| backend == self.backend)?;
        (id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    }

    /// What is to be asked of HAProxy, in this order. A removal may be refused while connections last.
    pub(super) fn steps(&self, wanted: &Servers, there: &[Server]) -> Vec<String> {
        let mut steps = Vec::new();
        let ours: BTreeMap<&str, &Server> =
            there.iter().filter_map(|server| Some((self.container(server)?, server))).collect();
        // Those that come before those that go: there is always one to take the next request.
        for (id, one) in wanted.iter().filter(|(_, one)| one.state == ServerIntent::Serve) {
            self.serve(&mut steps, &self.path(id), one, ours.get(id.as_str()).copied());
        }
        for (id, server) in &ours {
            let path = self.path(id);
            match wanted.get(*id).map(|one| one.state) {
                Some(ServerIntent::Leave) if server.admin == Admin::Ready => {
                    let state = if self.persistent { "maint" } else { "drain" };
                    steps.push(format!("set server {path} state {state}"));
                }
                Some(ServerIntent::Serve | ServerIntent::Stay | ServerIntent::Leave) => {}
                None => {
                    if server.admin != Admin::Maintenance {
                        steps.push(format!("set server {path} state maint"));
                    }
                    steps.push(format!("del server {path}"));
                }
            }
        }
        steps
    }

    fn serve(&self, steps: &mut Vec<String>, path: &str, one: &DesiredServer, there: Option<&Server>) {
        let (ip, port) = (one.address.ip(), one.address.port());
        match there {
            // New servers are in maintenance.
            None => steps.push(format!("add server {path} {}{REUSE}{}", one.address, self.options)),
            Some(server) if (server.address, server.port) != (Some(ip), port) => {
                steps.push(format!("set server {path} addr {ip} port {port}"));
            }
            Some(_) => {}
        }
        if there.is_none_or(|server| server.weight != one.weight) {
            steps.push(format!("set server {path} weight {}", one.weight));
        }
        if there.is_none_or(|server| server.admin != Admin::Ready) {
            steps.push(format!("set server {path} state ready"));
        }
    }

    fn path(&self, id: &str) -> String {
        format!("{}/{}{id}", self.backend, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbb";

    fn pool(prefix: &str) -> Pool {
        Pool { backend: "port-80".to_owned(), prefix: prefix.to_owned(), options: " send-proxy-v2", persistent: false }
    }

    fn wanted(id: &str, state: ServerIntent) -> (String, DesiredServer) {
        (id.to_owned(), DesiredServer { address: "10.0.0.2:8080".parse().expect("an address"), state, weight: WEIGHT })
    }

    fn there(name: &str, admin: Admin) -> Server {
        Server {
            backend: "port-80".to_owned(),
            name: name.to_owned(),
            address: "10.0.0.2".parse().ok(),
            port: 8080,
            weight: WEIGHT,
            admin,
        }
    }

    #[test]
    fn one_comes_and_one_leaves_in_this_order() {
        let steps = pool("")
            .steps(&[wanted(A, ServerIntent::Leave), wanted(B, ServerIntent::Serve)].into(), &[there(A, Admin::Ready)]);
        let want = [
            format!("add server port-80/{B} 10.0.0.2:8080 pool-purge-delay 5s pool-max-conn -1 send-proxy-v2"),
            format!("set server port-80/{B} weight 100"),
            format!("set server port-80/{B} state ready"),
            format!("set server port-80/{A} state drain"),
        ];
        assert_eq!(steps, want);
    }

    #[test]
    fn what_is_as_wanted_is_left_alone() {
        let all = [wanted(A, ServerIntent::Serve), wanted(B, ServerIntent::Leave)];
        assert!(pool("").steps(&all.into(), &[there(A, Admin::Ready), there(B, Admin::Drain)]).is_empty());
        let unknown = [wanted(A, ServerIntent::Stay), wanted(B, ServerIntent::Stay)].into();
        assert!(pool("").steps(&unknown, &[there(A, Admin::Ready)]).is_empty());
    }

    #[test]
    fn one_that_is_gone_is_removed_and_others_are_not_ours() {
        let others = [there("web1", Admin::Ready), there(A, Admin::Drain), there("x-aaaaaaaaaaaa", Admin::Ready)];
        let steps = pool("").steps(&Servers::new(), &others);
        assert_eq!(steps, [format!("set server port-80/{A} state maint"), format!("del server port-80/{A}")]);
        let mut elsewhere = there(A, Admin::Ready);
        elsewhere.backend = "port-81".to_owned();
        assert!(pool("").steps(&Servers::new(), &[elsewhere]).is_empty());
        assert!(pool("shop-web-").steps(&Servers::new(), &[there(A, Admin::Ready)]).is_empty());
    }

    #[test]
    fn one_that_came_back_elsewhere_is_sent_there() {
        let mut moved = there(A, Admin::Drain);
        moved.address = "10.0.0.9".parse().ok();
        let steps = pool("").steps(&[wanted(A, ServerIntent::Serve)].into(), &[moved]);
        let want =
            [format!("set server port-80/{A} addr 10.0.0.2 port 8080"), format!("set server port-80/{A} state ready")];
        assert_eq!(steps, want);
    }

    #[test]
    fn clients_that_belong_to_a_server_leave_it_too() {
        let sticky = Pool { persistent: true, ..pool("") };
        let steps = sticky.steps(&[wanted(A, ServerIntent::Leave)].into(), &[there(A, Admin::Ready)]);
        assert_eq!(steps, [format!("set server port-80/{A} state maint")]);
        assert!(sticky.steps(&[wanted(A, ServerIntent::Leave)].into(), &[there(A, Admin::Maintenance)]).is_empty());
    }
}
