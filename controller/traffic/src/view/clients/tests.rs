use super::*;

const THROTTLE: Duration = Duration::from_secs(2);

fn process(pid: i32) -> Caller {
    Caller { name: Name::Process(pid, "Traefik 3.7".to_owned()), connection: 1 }
}

fn agent(agent: &str, connection: u64) -> Caller {
    Caller { name: Name::Agent(agent.to_owned()), connection }
}

/// A proxy that has listed at version 1 and listens, long after the controller's start.
async fn following(callers: &[Caller]) -> Clients {
    let mut clients = Clients::new(THROTTLE);
    for caller in callers {
        clients.connected(caller);
        reads(&mut clients, caller, 1);
        clients.listens(caller);
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    clients
}

fn reads(clients: &mut Clients, caller: &Caller, version: u64) {
    clients.lists(caller, version);
    clients.has_read(caller);
}

fn now_shown(version: u64, leaves: bool) -> Change {
    Change { version: Some(version), since: Instant::now(), leaves }
}

/// How long a change is waited for.
fn wait(clients: &Clients, change: Change) -> Duration {
    match clients.propagation(change, None) {
        ReadState::NotBefore(until, _) => until - Instant::now(),
        ReadState::In | ReadState::Nobody => Duration::ZERO,
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_where_nobody_reads() {
    let mut clients = Clients::new(THROTTLE);
    let watcher = process(7);
    clients.listens(&watcher);
    let change = now_shown(5, false);
    assert_eq!(clients.propagation(change, None), ReadState::Nobody, "one that only listens is no proxy");
    assert_eq!(wait(&clients, now_shown(5, true)), COMES_BACK, "but before this controller there may have been one");
    tokio::time::sleep(COMES_BACK).await;
    assert_eq!(clients.propagation(now_shown(6, true), None), ReadState::Nobody);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_began_before_the_change_proves_nothing() {
    let traefik = process(7);
    let mut clients = following(std::slice::from_ref(&traefik)).await;
    let change = now_shown(5, true);
    clients.lists(&traefik, 4);
    clients.has_read(&traefik);
    assert_eq!(wait(&clients, change), READER_TIMEOUT + THROTTLE + MARGIN);
    clients.lists(&traefik, 5);
    assert_eq!(wait(&clients, change), READER_TIMEOUT + THROTTLE + MARGIN, "it is still reading");
    clients.has_read(&traefik);
    // The list before it has just passed.
    assert_eq!(wait(&clients, change), THROTTLE + MARGIN);
    tokio::time::sleep(THROTTLE + MARGIN).await;
    assert_eq!(clients.propagation(change, None), ReadState::In);
}

/// As traefik's ring channel does it: at once after a quiet time, then once in every throttle, the newest.
#[tokio::test(start_paused = true)]
async fn traefik_lets_a_configuration_pass_once_in_every_throttle() {
    let traefik = process(7);
    let mut clients = following(std::slice::from_ref(&traefik)).await;
    let joins = now_shown(5, false);
    assert_eq!(wait(&clients, joins), READER_TIMEOUT + THROTTLE + MARGIN);
    reads(&mut clients, &traefik, 5);
    assert_eq!(clients.propagation(joins, None), ReadState::In, "one more is only to be known of");
    let first = now_shown(5, true);
    assert_eq!(wait(&clients, first), MARGIN, "at once");
    // The health_status that follows the start makes it list again: that one waits, and changes nothing.
    reads(&mut clients, &traefik, 5);
    assert_eq!(wait(&clients, first), MARGIN);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let leaves = now_shown(6, true);
    reads(&mut clients, &traefik, 6);
    assert_eq!(wait(&clients, leaves), Duration::from_millis(1500) + MARGIN, "in place of the one that waits");
    // So shortly before its turn it may miss it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = now_shown(7, true);
    reads(&mut clients, &traefik, 7);
    assert_eq!(wait(&clients, late), Duration::from_millis(500) + THROTTLE + MARGIN);
}

#[tokio::test(start_paused = true)]
async fn a_reading_lasts_until_its_last_inspect() {
    let traefik = process(7);
    let mut clients = following(std::slice::from_ref(&traefik)).await;
    let change = now_shown(5, true);
    reads(&mut clients, &traefik, 5);
    tokio::time::sleep(Duration::from_millis(200)).await;
    clients.has_read(&Caller { connection: 2, ..traefik });
    assert_eq!(wait(&clients, change), MARGIN);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_read_is_waited_for_no_longer_than_its_bound() {
    let other = agent("docker-gen", 7);
    let mut clients = following(std::slice::from_ref(&other)).await;
    let change = now_shown(5, true);
    tokio::time::sleep(READER_TIMEOUT + THROTTLE + MARGIN).await;
    assert_eq!(clients.propagation(change, None), ReadState::In);
    clients.hung_up(&other);
    clients.disconnected(&other);
    // Traefik lists at every event: while it has not, it sends by what it knew.
    let traefik = process(8);
    let mut clients = following(std::slice::from_ref(&traefik)).await;
    let (leaves, comes) = (now_shown(5, true), now_shown(5, false));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(wait(&clients, leaves), MARGIN);
    assert_eq!(clients.propagation(comes, None), ReadState::In);
    clients.hung_up(&traefik);
    clients.disconnected(&traefik);
    assert_eq!(wait(&clients, now_shown(6, true)), COMES_BACK, "it may come back with what it knew");
    tokio::time::sleep(COMES_BACK).await;
    assert_eq!(clients.propagation(now_shown(6, true), None), ReadState::Nobody);
}

#[tokio::test(start_paused = true)]
async fn all_have_to_read() {
    let (one, two) = (process(7), process(8));
    let mut clients = following(&[one.clone(), two.clone()]).await;
    let change = now_shown(5, true);
    reads(&mut clients, &one, 5);
    assert_eq!(wait(&clients, change), READER_TIMEOUT + THROTTLE + MARGIN);
    reads(&mut clients, &two, 5);
    assert_eq!(wait(&clients, change), MARGIN);
}

#[tokio::test(start_paused = true)]
async fn those_that_cannot_be_told_apart_have_read_when_as_many_connections_have() {
    let (one, two) = (agent("docker-gen", 1), agent("docker-gen", 2));
    let mut clients = following(&[one.clone(), two.clone()]).await;
    let change = now_shown(5, true);
    reads(&mut clients, &one, 5);
    reads(&mut clients, &one, 5);
    assert_eq!(wait(&clients, change), READER_TIMEOUT + THROTTLE + MARGIN);
    reads(&mut clients, &two, 5);
    assert_eq!(wait(&clients, change), THROTTLE + MARGIN, "they render and reload within the throttle");
}

#[tokio::test(start_paused = true)]
async fn a_proof_is_as_good_as_a_list_where_it_can_only_be_of_one() {
    let (one, two) = (process(7), process(8));
    let clients = following(std::slice::from_ref(&one)).await;
    assert_eq!(clients.propagation(now_shown(5, true), Some(TRAEFIK)), ReadState::In);
    let clients = following(&[one, two]).await;
    assert_ne!(clients.propagation(now_shown(5, true), Some(TRAEFIK)), ReadState::In);
}

#[tokio::test(start_paused = true)]
async fn one_that_listed_before_it_listens_is_told_which_list() {
    let traefik = process(7);
    let mut clients = Clients::new(THROTTLE);
    assert_eq!(clients.listens(&process(9)), None);
    reads(&mut clients, &traefik, 3);
    assert_eq!(clients.listens(&traefik), Some(3));
}
