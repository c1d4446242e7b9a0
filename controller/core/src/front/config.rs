//! The part of a front's HAProxy configuration that does not change while it runs. Servers are never in it: they are
//! added by the runtime API. Understood by HAProxy 2.6 and later. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crd_schema::{ComposeDuration, Front, FrontMode, FrontTimeouts};

use crate::model::ServiceName;

/// Where HAProxy's runtime API listens, on the loopback address of the front's own network namespace. It has no
/// password: whoever reaches it there commands the front.
pub const RUNTIME_PORT: u16 = 19999;
/// Where its Lua part is in the container.
pub(super) const LUA_PATH: &str = "/etc/composed/front.lua";
const MAX_CONNECTIONS: u32 = 8192;
/// A replica is on the same host: a connection that takes longer goes nowhere.
const CONNECT: Duration = Duration::from_secs(2);
const QUEUE: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_mins(1);
const HTTP: Duration = Duration::from_mins(1);
const TCP: Duration = Duration::from_hours(1);
/// Between two looks for a replica, in milliseconds; the Lua part has it, too.
const LOOK: u128 = 20;

/// The name of HAProxy's section for a port.
pub fn section(port: u16) -> String {
    format!("port-{port}")
}

/// What HAProxy lacks: to wait for the first server of a backend. It is asked only while there is none.
pub(super) const LUA: &str = "\
-- Written by composed. Waits until a backend has a server that serves, at most so many looks of 20 ms.
core.register_action(\"wait_for_server\", { \"tcp-req\", \"http-req\" }, function(txn, backend, looks)
    for _ = 1, tonumber(looks) do
        local stopping = txn.f:stopping()
        if tonumber(txn.f:nbsrv(backend)) > 0 or stopping == true or stopping == 1 then
            return
        end
        core.msleep(20)
    end
end, 2)
";

/// The configuration of the front of `service`. Requests in flight have `drain` to end after a soft stop.
pub(super) fn text(
    service: &ServiceName,
    front: &Front,
    ports: &BTreeMap<u16, FrontMode>,
    drain: Duration,
    ipv6: bool,
) -> String {
    let timeouts = front.timeouts.clone().unwrap_or_default();
    let mut text = format!(
        "# Written by composed for the front of {service}. Servers are added while it runs.
global
    maxconn {maxconn}
    stats socket ipv4@127.0.0.1:{RUNTIME_PORT} level admin
    stats timeout 1h
    hard-stop-after {stop}
    lua-load {LUA_PATH}
defaults
    timeout connect {connect}
    timeout queue {queue}
    timeout http-request 10s
    timeout http-keep-alive {keep_alive}
    timeout tunnel {TUNNEL}
    retries 3
    option redispatch 1
",
        maxconn = front.max_connections.unwrap_or(MAX_CONNECTIONS),
        stop = ms(drain.max(Duration::from_secs(1))),
        connect = time(timeouts.connect, CONNECT),
        queue = time(timeouts.queue, QUEUE),
        keep_alive = time(timeouts.http_keep_alive, KEEP_ALIVE),
    );
    for (port, mode) in ports {
        text.push_str(&sections(*port, *mode, front, &timeouts, ipv6));
    }
    text
}

const TUNNEL: &str = "1h";

fn sections(port: u16, mode: FrontMode, front: &Front, timeouts: &FrontTimeouts, ipv6: bool) -> String {
    let name = section(port);
    let queue = timeouts.queue.map_or(QUEUE, ComposeDuration::get);
    let looks = queue.as_millis().div_ceil(LOOK);
    let (word, usual) = match mode {
        FrontMode::Http => ("http", HTTP),
        FrontMode::Tcp => ("tcp", TCP),
    };
    let at = if ipv6 { format!(":::{port} v4v6") } else { format!("*:{port}") };
    let accept = if front.accept_proxy { " accept-proxy" } else { "" };
    let (client, server) = (time(timeouts.client, usual), time(timeouts.server, usual));
    // In a soft stop HAProxy counts no servers, and yet sends to them what is under way.
    let wait = format!("lua.wait_for_server {name} {looks} unless {{ nbsrv({name}) gt 0 }} || {{ stopping }}");
    let sticky = front.sticky.as_ref().filter(|_| mode == FrontMode::Http).map(|sticky| &sticky.cookie);
    // It was checked when it was read. Here it would be evaluated: `%[env(X)]`, `"`, the end of a line.
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let sticky = sticky.filter(|cookie| is_word(cookie));
    let (mut incoming, mut onward) = (String::new(), String::new());
    // A share of the requests is exact by turns; connections that last are spread by how many each has.
    let balance = match mode {
        FrontMode::Http => "roundrobin",
        FrontMode::Tcp => "leastconn",
    };
    match mode {
        FrontMode::Http => {
            incoming += "    option forwardfor\n";
            incoming += &format!("    http-request {wait}\n");
            onward += "    http-reuse safe\n";
            // A connection that is used again may have ended in the same moment: what is safe to repeat is asked again, as
            // nginx and Traefik do.
            onward += "    retry-on conn-failure empty-response\n";
            onward += "    http-request disable-l7-retry unless METH_GET\n";
        }
        FrontMode::Tcp => {
            // Longer than the wait itself, which ends it.
            incoming += &format!("    tcp-request inspect-delay {}\n", ms(queue + Duration::from_secs(1)));
            incoming += &format!("    tcp-request content {wait}\n");
        }
    }
    if let Some(cookie) = sticky {
        // HAProxy's own cookies know no servers that were added while it runs.
        onward += &format!("    http-request set-var(txn.server) req.cook({cookie})\n");
        onward += &format!("    use-server %[req.cook({cookie})] if {{ req.cook({cookie}) -m found }}\n");
        onward += &format!(
            "    http-response add-header Set-Cookie \"{cookie}=%s; Path=/; HttpOnly\" unless {{ srv_name,strcmp(txn.server) eq 0 }}\n"
        );
    }
    format!(
        "frontend {name}
    mode {word}
    bind {at}{accept}
    timeout client {client}
{incoming}    default_backend {name}
backend {name}
    mode {word}
    balance {balance}
    timeout server {server}
{onward}"
    )
}

fn time(asked: Option<ComposeDuration>, usual: Duration) -> String {
    ms(asked.map_or(usual, ComposeDuration::get))
}

/// The largest unit that divides it, as HAProxy writes it.
fn ms(time: Duration) -> String {
    let ms = time.as_millis();
    [(3_600_000, "h"), (60_000, "m"), (1000, "s")]
        .into_iter()
        .find(|(scale, _)| ms.is_multiple_of(*scale))
        .map_or_else(|| format!("{ms}ms"), |(scale, unit)| format!("{}{unit}", ms / scale))
}
