//! Serialise and read again: nothing is lost, whatever the format.

use crd_schema::{Object, Service, ServiceSpec, parse};

use crate::forms::{cases, spec};

#[test]
fn through_json_and_back_is_the_identity() {
    for (written, ..) in cases() {
        let spec = spec(written);
        let text = serde_json::to_string(&spec).unwrap();
        let back: ServiceSpec = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(back, spec, "{text}");
        assert_eq!(back.digest(), spec.digest());
        let value = serde_json::to_value(&spec).unwrap();
        assert_eq!(serde_json::from_value::<ServiceSpec>(value).unwrap(), spec, "{text}");
    }
}

#[test]
fn through_yaml_and_back_is_the_identity() {
    for (written, ..) in cases() {
        let object = Object::Service(Service::new("shop", "web", spec(written)));
        let text = serde_saphyr::to_string(&object).unwrap();
        let back = parse("back.yaml", &text).unwrap_or_else(|problems| panic!("{text}\n{}", problems[0]));
        assert_eq!(back[0].object, object, "{text}");
    }
}
