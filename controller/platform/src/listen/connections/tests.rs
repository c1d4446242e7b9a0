use std::sync::Arc;

use super::*;

fn limits(connections: usize, per_peer: usize) -> ConnectionLimits {
    let (head_timeout, idle_timeout) = (Duration::from_secs(10), Duration::from_mins(1));
    ConnectionLimits { connections, per_peer, head_timeout, idle_timeout, request_timeout: Duration::from_secs(30) }
}

fn peer(number: u8) -> Peer {
    Peer::at([10, 0, 0, number].into())
}

fn is_closed(place: &ConnectionPermit) -> bool {
    place.slot.lock().closed
}

#[tokio::test(start_paused = true)]
async fn the_one_that_has_waited_longest_makes_place() {
    let connections = Connections::new("test", limits(3, 3));
    let mut places = Vec::new();
    for _ in 0..3 {
        places.push(connections.admit(peer(1)).await.expect("room"));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    // The first one is being answered, and then waits for less long than the second.
    drop(places[0].slot.begin());
    places.push(connections.admit(peer(1)).await.expect("in place of another"));
    let closed = |places: &[ConnectionPermit]| places.iter().map(is_closed).collect::<Vec<_>>();
    assert_eq!(closed(&places), [false, true, false, false]);
    let answers = [0, 2, 3].map(|nth| places[nth].slot.begin());
    assert!(connections.admit(peer(1)).await.is_none(), "all of them are being answered");
    let lasting = places[2].slot.last();
    places.push(connections.admit(peer(1)).await.expect("a long poll is ended rather than nobody let in"));
    assert_eq!(closed(&places), [false, true, true, false, false]);
    drop((answers, lasting, places));
    let open = connections.lock();
    assert!(open.slots.is_empty() && open.by_peer.is_empty() && open.alive == 0, "{open:?}");
}

#[tokio::test(start_paused = true)]
async fn one_peer_never_closes_the_few_of_another() {
    let connections = Connections::new("test", limits(8, 6));
    let few = connections.admit(peer(1)).await.expect("room");
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut many = Vec::new();
    for _ in 0..100 {
        many.push(connections.admit(peer(2)).await.expect("one of its own makes place"));
    }
    assert!(!is_closed(&few));
    assert_eq!(many.iter().filter(|one| !is_closed(one)).count(), 6);
    // From many addresses: it is one of those with the most that makes place.
    let mut others = Vec::new();
    for number in 3..=5 {
        others.push(connections.admit(peer(number)).await.expect("room is made"));
    }
    assert!(!is_closed(&few) && !others.iter().any(is_closed));
    assert_eq!(many.iter().filter(|one| !is_closed(one)).count(), 4);
}

/// A connection whose request is on its way is not closed by a burst of others.
#[tokio::test(start_paused = true)]
async fn a_burst_waits_until_those_before_it_had_their_chance() {
    let connections = Connections::new("test", limits(4, 4));
    let began = Instant::now();
    let mut places = Vec::new();
    for _ in 0..8 {
        places.push(connections.admit(peer(1)).await.expect("room is made"));
        if began.elapsed() < GRACE {
            assert!(!places.iter().any(is_closed), "{:?}", began.elapsed());
        }
    }
    assert_eq!(began.elapsed(), GRACE);
    // One that ends makes room at once.
    drop(places.pop());
    assert!(connections.admit(peer(1)).await.is_some());
    assert_eq!(began.elapsed(), GRACE);
}

#[test]
fn an_ipv6_network_is_one_peer() {
    let at = |address: &str| Peer::at(address.parse().expect("an address"));
    assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
    assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
    assert_eq!(at("::ffff:10.0.0.1"), peer(1));
    assert_ne!(at("::1"), at("::2"));
}

/// How long a connection lasts, if it is left alone from now on.
async fn lasts(slot: &Slot) -> Option<Duration> {
    let began = Instant::now();
    let over = tokio::time::timeout(Duration::from_secs(1000), slot.over()).await;
    over.ok().map(|()| began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn each_wait_has_its_time() {
    let connections = Connections::new("test", limits(8, 8));
    let place = connections.admit(peer(1)).await.expect("room");
    let slot = &place.slot;
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(lasts(slot).await, seconds(10), "no head");
    drop(slot.begin());
    assert_eq!(lasts(slot).await, seconds(60), "between requests");
    drop(slot.begin());
    slot.has_read();
    tokio::time::advance(Duration::from_secs(4)).await;
    slot.has_read();
    assert_eq!(lasts(slot).await, seconds(6), "a byte now and then is no head");
    let request = slot.begin();
    assert_eq!(lasts(slot).await, seconds(30), "an answer");
    let lasting = slot.last();
    assert_eq!(lasts(slot).await, None, "a long poll");
    slot.has_written(false);
    assert_eq!(lasts(slot).await, seconds(60), "a client that does not read");
    slot.has_written(true);
    assert_eq!(lasts(slot).await, None);
    drop(lasting);
    assert_eq!(lasts(slot).await, seconds(30), "what comes after a long poll");
    drop(request);
    assert_eq!(lasts(slot).await, seconds(60));
    slot.close();
    assert_eq!(lasts(slot).await, seconds(0));
}

#[tokio::test(start_paused = true)]
async fn a_change_ends_a_longer_wait() {
    let connections = Connections::new("test", limits(8, 8));
    let place = connections.admit(peer(1)).await.expect("room");
    drop(place.slot.begin());
    let slot = Arc::clone(&place.slot);
    let waits = tokio::spawn(async move { lasts(&slot).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    place.slot.has_read();
    assert_eq!(waits.await.expect("it ends"), Some(Duration::from_secs(15)), "5 s idle, then 10 s for the head");
}
