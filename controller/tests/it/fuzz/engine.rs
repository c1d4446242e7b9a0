//! An engine whose answers are wrong in every way: cut, too long, of other shapes, with what others may write into them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use composed_core::engine::{ActionContext, DesiredContainer, Engine, ObserveRequest, observe_once};
use composed_core::model::ServiceName;
use composed_core::plan::action::{Blueprint, Target, Verb};
use composed_docker::Docker;
use crd_schema::{ContainerId, ImageId, ImageRef, NetworkName, Revision, ServiceSpec, VolumeName};
use fastrand::Rng;
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::mutate::worse;

const WORDS: &[&str] = &[
    "null",
    "{}",
    "[]",
    "[[[[[[[[[[[[[[[[",
    "-1",
    "1e999",
    "99999999999999999999",
    "\"\"",
    "\\u0000",
    "\"dev.composed.service\":\"../../../victim/daemon\",",
    "\"dev.composed.seal\":\"1.n.00\",",
    "\"dev.composed.endpoints\":\"{}\",",
    "\"com.docker.compose.config-hash\":\"abc\",",
    "\"sha256:\"",
    "\"removing\"",
    "\"stopped\"",
    "0001-01-01T00:00:00Z",
    "9999-99-99T99:99:99Z",
];

/// What a good engine says, by the end of the path.
pub(crate) fn good(path: &str) -> &'static str {
    const LABELS: &str = r#"{"dev.composed.instance":"fuzz","dev.composed.service":"shop/web","dev.composed.revision":"r1","dev.composed.generation":"7","com.docker.compose.project":"shop","com.docker.compose.service":"web","com.docker.compose.container-number":"1","com.docker.compose.config-hash":"r1"}"#;
    match path {
        "/version" => r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#,
        "/containers/json" => const_format(
            r#"[{"Id":"aaaaaaaaaaaaaaaa","Names":["/shop-web-1"],"ImageID":"sha256:1","Created":1,"State":"running","Labels":LABELS},{"Id":"bbbbbbbbbbbbbbbb","Names":["/shop-db-1"],"ImageID":"sha256:1","Created":1,"State":"running","Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"db","com.docker.compose.container-number":"1","com.docker.compose.config-hash":"abc"}}]"#,
            LABELS,
        ),
        "/networks" => {
            r#"[{"Name":"shop_default","Id":"n1","Labels":{"dev.composed.instance":"fuzz","com.docker.compose.project":"shop"}}]"#
        }
        "/volumes" => {
            r#"{"Volumes":[{"Name":"shop_data","Driver":"local","Mountpoint":"/x","Labels":{"com.docker.compose.project":"shop"},"Scope":"local","Options":{}}],"Warnings":null}"#
        }
        path if path.starts_with("/volumes/") => {
            r#"{"Name":"composed-key-fuzz","Driver":"local","Mountpoint":"/x","Labels":{"dev.composed.instance":"fuzz","dev.composed.key":"0000000000000000000000000000000000000000000000000000000000000000","dev.composed.before":"aaaaaaaaaaaaaaaa,n1"},"Scope":"local","Options":{}}"#
        }
        path if path.starts_with("/images/") => {
            r#"{"Id":"sha256:1","RepoDigests":["shop/web@sha256:2"],"Config":{"Env":["A=1"],"Labels":{"a":"b"},"Cmd":["/app"],"ExposedPorts":{"80/tcp":{}},"Volumes":{"/data":{}}}}"#
        }
        path if path.starts_with("/containers/") && path.ends_with("/json") => const_format(
            r#"{"Id":"aaaaaaaaaaaaaaaa","Name":"/shop-web-1","Image":"sha256:1","Created":"2026-01-01T00:00:00Z","RestartCount":0,"State":{"Status":"running","Running":true,"Pid":7,"ExitCode":0,"StartedAt":"2026-01-01T00:00:00Z","FinishedAt":"0001-01-01T00:00:00Z","Health":{"Status":"healthy","Log":[]}},"HostConfig":{"NetworkMode":"shop_default","RestartPolicy":{"Name":"always"},"Binds":["/a:/b"],"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}},"Config":{"Image":"shop/web:1","Env":["A=1"],"Labels":LABELS,"Cmd":["/app"],"ExposedPorts":{"80/tcp":{}}},"NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]},"Networks":{"shop_default":{"IPAddress":"10.0.0.2","Aliases":["web"]}}},"Mounts":[{"Type":"volume","Name":"shop_data","Destination":"/data","Source":"/x"}]}"#,
            LABELS,
        ),
        "/events" => {
            "{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"aaaaaaaaaaaaaaaa\",\"Attributes\":{\"dev.composed.instance\":\"fuzz\",\"dev.composed.service\":\"shop/web\"}},\"time\":1}\n{\"Type\":\"volume\",\"Action\":\"create\",\"Actor\":{\"ID\":\"shop_data\"}}\n"
        }
        _ => r#"{"Id":"cccccccccccccccc","Warnings":[]}"#,
    }
}

/// A text with the labels in place of their name; there are few, so they are kept.
fn const_format(text: &'static str, labels: &str) -> &'static str {
    static MADE: std::sync::Mutex<BTreeMap<&'static str, &'static str>> = std::sync::Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().expect("no panic");
    made.entry(text).or_insert_with(|| Box::leak(text.replace("LABELS", labels).into_boxed_str()))
}

async fn answer(mut stream: UnixStream, mut rng: Rng) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let path = path.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or(path);
    // Whatever is done with the answer, the first question must be answered for there to be a second.
    let right = path == "/version" || rng.u8(..4) > 0;
    let body = if right { good(path).as_bytes().to_vec() } else { worse(&mut rng, good(path).as_bytes(), WORDS) };
    let status = if right || rng.bool() { 200 } else { [100, 204, 304, 400, 404, 409, 500, 503, 999][rng.usize(..9)] };
    match rng.u8(..40) {
        0 if !right => stream.write_all(&body).await?,
        1 if !right => stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n{").await?,
        2 if !right => {
            // Without an end, as far as it is read: one long text.
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[{\"Id\":\"").await?;
            let piece = vec![b'x'; 1 << 20];
            for _ in 0..256 {
                stream.write_all(&piece).await?;
            }
        }
        3 if !right => {
            let headers = format!("X: {}\r\n", "y".repeat(rng.usize(..200))).repeat(rng.usize(..2000));
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes()).await?;
        }
        _ => {
            let length = if right { body.len() } else { body.len() + rng.usize(..3) };
            let head =
                format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
        }
    }
    stream.shutdown().await
}

/// An engine whose answers are wrong, until it is dropped.
pub(super) struct Wrong {
    /// For `Docker::connect`.
    pub(super) host: String,
    serving: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Wrong {
    pub(super) fn begin(rng: &mut Rng) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("engine.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let mut answers = rng.fork();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(tokio::spawn(answer(stream, answers.fork())));
            }
        });
        Self { host: format!("unix://{}", path.display()), serving, _dir: dir }
    }
}

impl Drop for Wrong {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An engine, and everything that is asked of it in its life.
pub(super) async fn play(mut rng: Rng) {
    let engine = Wrong::begin(&mut rng);
    let docker = Docker::connect(Some(&engine.host), "fuzz").await.expect("the version is right");
    let (web, db) = (ServiceName::new("shop", "web"), ServiceName::new("shop", "db"));
    let spec = ServiceSpec { image: ImageRef::new("shop/web:1"), ..ServiceSpec::default() };
    let context = ActionContext { project: "shop".to_owned(), ..ActionContext::default() };
    let scope = ObserveRequest {
        services: Some([web.clone(), db.clone()].into()),
        images: [ImageRef::new("shop/web:1")].into(),
        compose: Arc::new([web.clone(), db.clone()].into()),
        host_ports: true,
        desired: [(db, DesiredContainer { spec: spec.clone().into(), context: context.clone() })].into(),
    };
    let target = Target { id: ContainerId::new("aaaaaaaaaaaaaaaa"), name: "shop-web-1".to_owned() };
    let print = Blueprint {
        name: web.container(2),
        service: web,
        hook: None,
        number: 2,
        revision: Revision::new("r1"),
        generation: 7,
        spec: spec.into(),
        volumes: BTreeMap::new(),
        joins: BTreeMap::new(),
        image: None,
    };
    let verbs = [
        Verb::Create(Box::new(print)),
        Verb::Start(target.clone()),
        Verb::Rename { target: target.clone(), to: "shop-web-failed".to_owned() },
        Verb::DisableRestart(target.clone()),
        Verb::Remove(target),
        Verb::CreateNetwork { key: "default".to_owned(), name: NetworkName::new("shop_default") },
        Verb::RemoveNetwork { name: NetworkName::new("shop_default"), id: None },
        Verb::CreateVolume { key: "data".to_owned(), name: VolumeName::new("shop_data") },
        Verb::RemoveImage { id: ImageId::new("sha256:1") },
    ];
    let talk = async {
        drop(docker.claim().await);
        if let Ok(seen) = observe_once(&docker, &scope).await {
            let all = seen.replicas.keys().chain(&seen.listing.owned).chain(seen.hooks.keys());
            for name in all {
                assert!(ServiceName::checked(&name.project, &name.name).is_some(), "{name:?}");
            }
            assert!(seen.listing.foreign.len() <= 100);
        }
        for verb in &verbs {
            drop(docker.apply(verb, &context).await);
        }
        let mut keys = docker.watch();
        drop(tokio::time::timeout(Duration::from_millis(20), async { while keys.next().await.is_some() {} }).await);
    };
    // An answer that is cut is waited for: that is no fault here.
    drop(tokio::time::timeout(Duration::from_secs(2), talk).await);
}
