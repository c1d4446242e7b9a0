use crd_schema::ContainerId;

use super::*;

fn with(info: Info) -> Connection {
    Connection { state: TCP_ESTABLISHED, info: Some(info), ..Connection::default() }
}

/// (received, sent) in segments, then milliseconds since data came in, went out, and was acknowledged.
fn info((received, sent): (u32, u32), last_received: u32, last_sent: u32, last_acknowledged: u32) -> Info {
    Info { last_sent, last_received, last_acknowledged, sent, received }
}

#[test]
fn a_connection_is_busy_from_the_request_to_the_end_of_the_answer() {
    let table = [
        ("fresh: nobody has said anything", info((0, 0), 5, 5, 5), false),
        ("the server's greeting only", info((0, 1), 900, 800, 800), false),
        ("the first request, in the tick of the handshake", info((1, 0), 900, 900, 900), true),
        ("a request", info((2, 1), 40, 900, 40), true),
        ("a request, for a long time", info((2, 1), 60_000, 70_000, 60_000), true),
        ("an answer just now", info((1, 1), 800, 100, 100), true),
        ("an answer some time ago", info((1, 1), 800, 400, 400), false),
        ("both in one tick, and no word since", info((1, 1), 400, 400, 400), true),
        ("both in one tick, acknowledged later", info((1, 1), 400, 400, 360), false),
        ("both in one tick, long ago", info((1, 1), 1400, 1400, 1400), false),
    ];
    for (what, info, expected) in table {
        assert_eq!(with(info).is_busy(), expected, "{what}");
    }
}

#[test]
fn queues_count_but_for_the_end_of_a_connection() {
    let idle = with(info((1, 1), 9000, 8000, 8000));
    assert!(!idle.is_busy());
    assert!(Connection { receive_queue: 1, ..idle }.is_busy());
    assert!(Connection { send_queue: 1, ..idle }.is_busy());
    assert!(!Connection { state: TCP_CLOSE_WAIT, receive_queue: 1, ..idle }.is_busy(), "the client has left");
    let closing = Connection { state: netlink_packet_sock_diag::constants::TCP_FIN_WAIT1, ..idle };
    assert!(!Connection { send_queue: 1, ..closing }.is_busy());
    assert!(Connection { send_queue: 2, ..closing }.is_busy(), "an answer is still to be delivered");
}

/// Hears one connection again and again: after how many seconds since the last look, with how many segments in and out by then,
/// and milliseconds since data came in and went out.
fn heard(looks: &[(u64, (u32, u32), u32, u32)]) -> Vec<bool> {
    heard_as(Requests::InTurn, looks)
}

fn heard_as(requests: Requests, looks: &[(u64, (u32, u32), u32, u32)]) -> Vec<bool> {
    let (mut now, mut talk) = (Instant::now() + Duration::from_hours(1), None);
    let each = looks.iter().map(|(after, segments, last_received, last_sent)| {
        now += Duration::from_secs(*after);
        let socket = with(info(*segments, *last_received, *last_sent, *last_sent));
        let (then, busy) = Talk::hear(talk.as_ref(), &socket, requests, now);
        talk = then;
        busy
    });
    each.collect()
}

#[test]
fn a_server_that_goes_on_after_a_pause_is_expected_to_do_so_again() {
    // A stream of one piece a second, seen first and then 0.5 s after its third piece.
    let stream = [(0, (1, 1), 900, 800), (2, (1, 3), 2900, 500)];
    assert_eq!(heard(&stream), [false, true]);
    let ended = [stream[0], stream[1], (2, (1, 3), 4900, 2500), (5, (1, 3), 9900, 7500)];
    assert_eq!(heard(&ended), [false, true, true, false], "over after three pauses of its length");
    let keep_alive = [(0, (1, 1), 900, 800), (2, (2, 2), 600, 500)];
    assert_eq!(heard(&keep_alive), [false, false], "an answer to another request");
    let slow = [(0, (1, 0), 900, 900), (2, (1, 1), 2900, 500)];
    assert_eq!(heard(&slow), [true, false], "the answer to a request that took long");
    let pushed = [stream[0], stream[1], (1, (2, 4), 1400, 1300)];
    assert_eq!(heard(&pushed), [false, true, true], "a word of the client's changes nothing");
}

#[test]
fn where_streams_hide_each_other_a_silence_has_to_last() {
    // A call each second in the moment in which a stream goes on: none of its pauses is ever heard.
    let calls = [(0, (1, 2), 500, 490), (1, (2, 4), 500, 490), (1, (3, 6), 500, 490)];
    assert_eq!(heard(&calls), [false; 3]);
    assert_eq!(heard_as(Requests::Interleaved, &calls), [true; 3]);
    let ended = [calls[2], (1, (3, 6), 1500, 1490), (1, (3, 6), 2500, 2490)];
    assert_eq!(heard_as(Requests::Interleaved, &ended), [true, true, false]);
    let goes_on = [calls[2], (1, (3, 7), 1500, 490), (1, (3, 7), 2500, 1490), (1, (3, 7), 3500, 2490)];
    assert_eq!(heard_as(Requests::Interleaved, &goes_on), [true; 4], "after the calls its pauses are heard");
    assert_eq!(heard_as(Requests::Interleaved, &[(0, (0, 1), 400, 300)]), [false], "nobody has asked for anything");
}

#[test]
fn a_stranger_is_not_entered() {
    let own = std::process::id();
    let into = |id: &str, pid: u32| {
        look_into(&ContainerId::new(id), pid, &BTreeSet::new(), Requests::InTurn, &mut Talks::default())
    };
    assert!(matches!(into(&"0".repeat(64), own), Err(LookError::OutOfReach(_))));
    assert!(matches!(into("", own), Err(LookError::OutOfReach(_))), "every text holds this");
    assert!(matches!(into(&"0".repeat(64), 0), Err(LookError::OutOfReach(_))));
}
