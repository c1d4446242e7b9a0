use std::net::SocketAddr;

use super::super::pool::{DesiredServer, WEIGHT};
use super::*;

const A: &str = "aaaaaaaaaaaa";

fn pool(backend: &str) -> Pool {
    Pool { backend: backend.to_owned(), prefix: String::new(), options: "", persistent: false }
}

fn wanted(state: ServerIntent) -> Servers {
    let address: SocketAddr = "10.0.0.2:80".parse().expect("an address");
    [(A.to_owned(), DesiredServer { address, state, weight: WEIGHT })].into()
}

fn there(backend: &str, admin: Admin) -> Server {
    let address = "10.0.0.2".parse().ok();
    Server { backend: backend.to_owned(), name: A.to_owned(), address, port: 80, weight: WEIGHT, admin }
}

#[test]
fn one_serves_when_it_does_in_every_pool_and_has_left_when_it_has_everywhere() {
    let both = |state| vec![(pool("a"), wanted(state)), (pool("b"), wanted(state))];
    let half = [there("a", Admin::Ready), there("b", Admin::Drain)];
    let taken = judge(&both(ServerIntent::Serve), &half, Some("no".to_owned()));
    assert!(!taken.complete && taken.serving.is_empty() && taken.touched.contains(A), "{taken:?}");
    assert_eq!(taken.trouble.as_deref(), Some("no"));
    let taken = judge(&both(ServerIntent::Leave), &half, None);
    assert!(!taken.complete && taken.touched.contains(A), "{taken:?}");

    let whole = [there("a", Admin::Ready), there("b", Admin::Ready)];
    let taken = judge(&both(ServerIntent::Serve), &whole, Some("a word".to_owned()));
    assert!(taken.complete && taken.serving.contains(A) && taken.trouble.is_none(), "{taken:?}");

    let left = [there("a", Admin::Maintenance), there("b", Admin::Drain)];
    let taken = judge(&both(ServerIntent::Leave), &left, None);
    assert!(taken.complete && taken.touched.is_empty(), "{taken:?}");
    // One that is to be gone and still takes requests.
    let taken = judge(&[(pool("a"), Servers::new())], &[there("a", Admin::Ready)], None);
    assert!(!taken.complete && taken.touched.contains(A), "{taken:?}");
}

#[test]
fn only_those_that_leave_are_waited_for_and_in_all_pools() {
    let pools = [(pool("a"), wanted(ServerIntent::Leave)), (pool("b"), wanted(ServerIntent::Leave))];
    let session = |backend: &str, server: &str, count| (backend.to_owned(), server.to_owned(), count);
    let sessions = [session("a", A, 2), session("b", A, 1), session("b", "theirs", 7), session("c", A, 9)];
    assert_eq!(busy(&pools, &sessions), [(A.to_owned(), 3)].into());
    assert!(busy(&pools, &[session("a", A, 0)]).is_empty());
    assert!(busy(&[(pool("a"), wanted(ServerIntent::Serve))], &sessions).is_empty());
}
