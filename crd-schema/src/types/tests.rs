//! Tables for the words and the arithmetic.

use super::{
    rollout::{Order, Rollout},
    scalar::{ByteSize, ComposeDuration, Decimal, IntOrPercent, Rounding},
};

#[test]
fn durations() {
    for (text, micros, canonical) in [
        ("0s", 0, "0s"),
        ("10s", 10_000_000, "10s"),
        ("1m30s", 90_000_000, "1m30s"),
        ("90s", 90_000_000, "1m30s"),
        ("250ms", 250_000, "250ms"),
        ("1.5s", 1_500_000, "1s500ms"),
        (".5s", 500_000, "500ms"),
        ("7us", 7, "7us"),
        ("1h1m1s1ms1us", 3_661_001_001, "1h1m1s1ms1us"),
        ("8760h", 31_536_000_000_000, "8760h"),
    ] {
        let parsed: ComposeDuration = text.parse().unwrap();
        assert_eq!(parsed.get().as_micros(), micros, "{text}");
        assert_eq!(parsed.to_string(), canonical);
        assert_eq!(canonical.parse::<ComposeDuration>().unwrap(), parsed);
    }
    for text in
        ["", "10", "s", "10 s", "-1s", "1.5us", "8761h", "1d", "1.s.", "99999999999999999999s", "1,5s", "10S", "１s"]
    {
        assert!(text.parse::<ComposeDuration>().is_err(), "{text}");
    }
}

#[test]
fn byte_sizes() {
    for (text, bytes, canonical) in [
        ("0", 0, "0"),
        ("1000", 1000, "1000"),
        ("1024b", 1024, "1k"),
        ("64m", 64 << 20, "64m"),
        ("64MB", 64 << 20, "64m"),
        ("1.5g", 3 << 29, "1536m"),
        ("1gb", 1 << 30, "1g"),
        ("64MiB", 64 << 20, "64m"),
        ("1t", 1 << 40, "1024g"),
        ("1PB", 1 << 50, "1048576g"),
        ("9223372036854775807", i64::MAX.unsigned_abs(), "9223372036854775807"),
    ] {
        let parsed: ByteSize = text.parse().unwrap();
        assert_eq!(parsed.get(), bytes, "{text}");
        assert_eq!(parsed.to_string(), canonical);
    }
    for text in ["", "m", "64x", "-1", "1.5b", "1x", "1tx", "9223372036854775808", "1 g"] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
}

#[test]
fn decimals_keep_their_text() {
    let half: Decimal = "0.50".parse().unwrap();
    assert_eq!((half.as_str(), half.nano()), ("0.50", 500_000_000));
    for text in ["", "-1", "1e3", "0.0000000001", "1.2.3", "."] {
        assert!(text.parse::<Decimal>().is_err(), "{text}");
    }
}

#[test]
fn shares_round_as_kubernetes_does() {
    for (text, total, up, down) in [
        ("1", 10, 1, 1),
        ("25%", 3, 1, 0),
        ("25%", 4, 1, 1),
        ("0%", 9, 0, 0),
        ("100%", 7, 7, 7),
        ("34%", 3, 2, 1),
        ("200%", 2, 4, 4),
    ] {
        let share: IntOrPercent = text.parse().unwrap();
        assert_eq!((share.of(total, Rounding::Up), share.of(total, Rounding::Down)), (up, down), "{text} of {total}");
        assert_eq!(share.to_string(), text);
    }
    assert_eq!(IntOrPercent::Percent(u32::MAX).of(u32::MAX, Rounding::Up), u32::MAX);
    for text in ["", "%", "-1", "1.5", "a%"] {
        assert!(text.parse::<IntOrPercent>().is_err(), "{text}");
    }
}

#[test]
fn a_services_own_rollout_keys_win_one_by_one() {
    let secs = |secs| Some(ComposeDuration::from_secs(secs));
    let own = Rollout { order: Some(Order::StopFirst), min_ready: secs(1), ..Rollout::default() };
    let defaults = Rollout { order: Some(Order::Auto), progress_deadline: secs(60), ..Rollout::default() };
    let merged = Rollout {
        order: Some(Order::StopFirst),
        min_ready: secs(1),
        progress_deadline: secs(60),
        ..Rollout::default()
    };
    assert_eq!(own.or(&defaults), merged);
}

#[test]
fn replicas_behind_a_front_have_no_host_port_name_or_address() {
    let text = r#"{"image": "x", "ports": [{"target": 80, "published": 8080}], "expose": ["81"],
        "networks": {"a": {"aliases": ["b"], "ipv4_address": "10.0.0.2", "priority": 3}}, "front": "tcp"}"#;
    let spec: crate::ServiceSpec = serde_json::from_str(text).unwrap();
    let own = serde_json::to_value(spec.of_replicas()).unwrap();
    let wanted = serde_json::json!({"image": "x", "expose": ["80/tcp", "81"], "networks": {"a": {"priority": 3}}, "front": {"mode": "http"}});
    assert_eq!(own, wanted);
    let ports: Vec<_> = spec.front_ports().into_iter().collect();
    assert_eq!(ports, [(80, crate::FrontMode::Tcp), (81, crate::FrontMode::Tcp)]);
}

#[test]
fn how_a_front_is_made_is_nothing_to_the_replicas() {
    let revision = |front: &str| {
        let text = format!(r#"{{"image": "x", "ports": [{{"target": 80, "published": 8080}}]{front}}}"#);
        serde_json::from_str::<crate::ServiceSpec>(&text).unwrap().revision()
    };
    assert_eq!(revision(r#", "front": "tcp""#), revision(r#", "front": {"mode": "http", "max_connections": 3}"#));
    assert_ne!(revision(r#", "front": "tcp""#), revision(""));
}
