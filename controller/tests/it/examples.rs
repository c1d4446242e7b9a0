//! What the first look at an empty host would make of the examples, as `tests/golden-examples.txt` has it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use composed_core::model::{Desired, ImageState, Observed, ServiceRecord};
use composed_core::plan::plan;
use composed_core::plan::policy::Policy;
use composed_source::catalog::Catalog;
use composed_source::files::read;
use crd_schema::ImageId;
use jiff::Timestamp;

#[test]
fn the_examples_plan_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let catalog = Catalog::new(&read(&root.join("../examples/services")), &Catalog::empty(false));
    let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    let mut text = String::new();
    for name in catalog.names() {
        let desired = catalog.desired(name, &BTreeSet::new(), now);
        let Desired::Run(wanted) = &desired else { panic!("{name}: {desired:?}") };
        let present = ImageState::Present(ImageId::new("sha256:1"));
        let mut images: BTreeMap<_, _> =
            wanted.spec.hook_images().map(|image| (image.clone(), ImageState::Absent)).collect();
        images.insert(wanted.spec.image.clone(), present);
        let observed = Observed { images, ..Observed::default() };
        let mut memory = ServiceRecord::default();
        memory.observe(Some(wanted), &observed, now);
        let plan = plan(&desired, &observed, &memory, now);
        text += &format!("{name}: {}\n", Policy::from_spec(&wanted.spec).strategy);
        text += &plan
            .actions
            .iter()
            .map(|action| format!("  {}  because: {}\n", action.verb, action.cause))
            .collect::<String>();
        text = text.replace(wanted.revision.as_str(), "REVISION");
    }
    let file = root.join("tests/golden-examples.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), text);
}
