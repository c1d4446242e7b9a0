//! The status as programs read it: Kubernetes' camelCase.

use crd_schema::status::{
    Condition, ConditionType, Reason, ReplicaPhase, ReplicaStatus, ServiceStatus, WaitReason, Waiting,
};
use crd_schema::{ContainerId, NetworkName, Revision};
use serde_json::json;

#[test]
fn the_status_is_camel_case_and_comes_back() {
    let at: jiff::Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    let status = ServiceStatus {
        project: "shop".into(),
        name: "web".into(),
        generation: 2,
        observed_generation: 1,
        revision: Revision::new("0b71826a44"),
        replicas: 1,
        conditions: vec![Condition {
            kind: ConditionType::ReplicaFailure,
            status: true,
            reason: Reason::CrashLoop,
            message: "it ends".into(),
            last_transition: at,
        }],
        waiting: vec![Waiting { reason: WaitReason::Replica, on: "min ready".into(), until: Some(at) }],
        instances: vec![ReplicaStatus {
            name: "shop-web-1".into(),
            id: ContainerId::new("abc"),
            revision: Revision::new("0b71826a44"),
            phase: ReplicaPhase::Pending,
            since: at,
            endpoints: vec!["10.0.0.2:80".into()],
            addresses: [(NetworkName::new("shop_default"), "10.0.0.2".into())].into(),
            reason: None,
            idle: false,
            leaves: false,
            shares: Vec::new(),
        }],
        ..ServiceStatus::default()
    };
    let value = serde_json::to_value(&status).unwrap();
    assert_eq!(value["observedGeneration"], 1);
    assert_eq!(
        value["conditions"][0],
        json!({"type": "ReplicaFailure", "status": true, "reason": "CrashLoop", "message": "it ends", "lastTransition": "2026-11-22T10:00:00Z"})
    );
    assert_eq!(value["waiting"][0], json!({"reason": "Replica", "on": "min ready", "until": "2026-11-22T10:00:00Z"}));
    assert_eq!(value.get("currentRevision"), None);
    assert_eq!(serde_json::from_value::<ServiceStatus>(value).unwrap(), status);
    assert_eq!(Reason::NameConflict.to_string(), "NameConflict");
}
