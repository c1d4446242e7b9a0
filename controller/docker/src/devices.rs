//! The devices of a create body: those of the host by path, and those that a driver hands out. Pure.

use bollard::models::{DeviceMapping, DeviceRequest};
use composed_core::engine::EngineError;
use crd_schema::{DeviceCount, ServiceSpec};

use super::target_engine::{Engine, list, map};

/// The driver of devices by name.
const CDI: &str = "cdi";

/// Those by path.
pub(super) fn by_path(spec: &ServiceSpec) -> Option<Vec<DeviceMapping>> {
    let each = spec.devices.iter().filter(|device| !device.is_named()).map(|device| DeviceMapping {
        path_on_host: Some(device.source.clone()),
        path_in_container: Some(device.target.clone()),
        cgroup_permissions: Some(device.permissions.clone()),
    });
    list(each.collect())
}

/// Those of drivers. Source: compose v5 `pkg/compose/create.go`, `getDeployResources`.
pub(super) fn requests(spec: &ServiceSpec, engine: Engine<'_>) -> Result<Option<Vec<DeviceRequest>>, EngineError> {
    let resources = spec.deploy.as_ref().and_then(|deploy| deploy.resources.as_ref());
    let reserved = resources.and_then(|resources| resources.reservations.as_ref());
    let mut all: Vec<_> = reserved.iter().flat_map(|reserved| &reserved.devices).map(request).collect();
    all.extend(spec.gpus.iter().map(|gpus| {
        let mut gpus = gpus.clone();
        gpus.capabilities.push("gpu".to_owned());
        request(&gpus)
    }));
    let named: Vec<_> = spec.devices.iter().filter(|device| device.is_named()).map(|one| one.source.clone()).collect();
    if !named.is_empty() {
        engine.since(44, "devices (by name)")?;
        all.push(DeviceRequest { driver: Some(CDI.to_owned()), device_ids: list(named), ..DeviceRequest::default() });
    }
    Ok(list(all))
}

fn request(asked: &crd_schema::DeviceRequest) -> DeviceRequest {
    let count = asked.count.or_else(|| asked.device_ids.is_empty().then_some(DeviceCount::ALL));
    DeviceRequest {
        driver: asked.driver.clone(),
        count: count.map(|count| count.0),
        device_ids: list(asked.device_ids.clone()),
        capabilities: list(list(asked.capabilities.clone()).into_iter().collect()),
        options: map(asked.options.clone()),
    }
}
