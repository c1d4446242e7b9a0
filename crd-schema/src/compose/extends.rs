//! `extends`: a service that begins with what another one says, in this file or in another. Source: compose-spec
//! 05-services, "extends"; compose-go `loader/extends.go`.

use std::rc::Rc;

use super::canonical::canonical;
use super::merge::{merge, settle};
use super::model::{Loader, Model};
use super::path::parent;
use super::tree::{entries, get_mut, take};
use crate::advice;
use crate::yaml::{Kind, MergeTag, Node, Place, Problem};

/// How many services may extend one another in a row.
const MAX_DEPTH: usize = 50;

/// Services that extend one another, outermost first: file and name.
type Chain = Vec<(String, String)>;

impl Loader<'_> {
    /// Gives each service of `document`, the file at `path`, what it extends.
    pub(super) fn extend(&mut self, document: &mut Node, path: &str, model: &mut Model) -> Result<(), Vec<Problem>> {
        let Some(services) = get_mut(document, "services") else { return Ok(()) };
        if !entries(services).iter().any(|(_, service)| service.get("extends").is_some()) {
            return Ok(());
        }
        let own = services.clone();
        self.sources.count(own.size(), own.place).map_err(|problem| vec![problem])?;
        for (name, service) in super::tree::entries_mut(services).into_iter().flatten() {
            if service.get("extends").is_some() {
                let name = name.text().unwrap_or_default();
                *service = self.extended(&own, path, name, model, &mut Chain::new())?;
            }
        }
        Ok(())
    }

    /// The service `name` of `services`, which the file at `path` holds, with all that it extends.
    fn extended(
        &mut self,
        services: &Node,
        path: &str,
        name: &str,
        model: &mut Model,
        chain: &mut Chain,
    ) -> Result<Node, Vec<Problem>> {
        let id = (path.to_owned(), name.to_owned());
        if let Some(done) = model.extended.get(&id) {
            return Ok(done.clone());
        }
        let Some((_, service)) = services.get(name) else { return Ok(Node::plain("", services.place)) };
        let mut service = service.clone();
        let Some((key, extends)) = take(&mut service, "extends") else { return Ok(service) };
        let one = |message: String, help: String| Err(vec![Problem::new(key.place, message, Some(help.into()))]);
        if chain.contains(&id) {
            let names: Vec<_> = chain.iter().chain([&id]).map(|(_, name)| format!("`{name}`")).collect();
            let help = "let one of them stand for itself".to_owned();
            return one(format!("services extend each other in a circle: {}", names.join(" extends ")), help);
        }
        if chain.len() >= MAX_DEPTH {
            let help = "extend a service that says more itself".to_owned();
            return one(format!("more than {MAX_DEPTH} services extend one another in a row"), help);
        }
        let Some(base) = extends.get("service").and_then(|(_, base)| base.text()).filter(|base| !base.is_empty())
        else {
            let help = "write `extends: {service: NAME}`, with `file: PATH` if it is in another file".to_owned();
            return one(format!("services.{name}.extends names no service"), help);
        };
        chain.push(id.clone());
        let other = extends.get("file").and_then(|(_, file)| Some((file.text()?, file.place)));
        let (file, of_file) = match other {
            Some((file, from)) if file != path => (file.to_owned(), Some(self.bases(file, from, model)?)),
            _ => (path.to_owned(), None),
        };
        let services = of_file.as_deref().unwrap_or(services);
        if services.get(base).is_none() {
            let known: Vec<&str> = entries(services).iter().filter_map(|(name, _)| name.text()).collect();
            let help = match advice::nearest(base, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name a service of that file".to_owned(),
            };
            let message = format!("services.{name} extends `{base}`, which is not in {}", self.sources.shown(&file));
            return one(message, help);
        }
        let mut begin = self.extended(services, &file, base, model, chain)?;
        chain.pop();
        settle(&mut begin);
        begin.tag = MergeTag::None;
        let merged = if begin.is_nothing() {
            service
        } else {
            self.sources.count(begin.size(), key.place).map_err(|problem| vec![problem])?;
            let tag = service.tag;
            service.tag = MergeTag::None;
            let merged = merge(begin, service, &["services", name]).map_err(|problem| vec![problem])?;
            Node { tag, ..merged }
        };
        self.sources.count(merged.size(), key.place).map_err(|problem| vec![problem])?;
        model.extended.insert(id, merged.clone());
        Ok(merged)
    }

    /// The services of another file, with its paths as seen from the project directory.
    fn bases(&mut self, path: &str, from: Place, model: &mut Model) -> Result<Rc<Node>, Vec<Problem>> {
        if let Some(services) = model.bases.get(path) {
            return Ok(Rc::clone(services));
        }
        let documents = self.documents(&[(path.to_owned(), from)])?;
        let mut services = Node::new(Kind::Map(Vec::new()), from);
        for mut document in documents.into_iter().flat_map(|(_, documents)| documents) {
            self.fill(&mut document, model)?;
            let mut count = |values, place| self.sources.count(values, place);
            canonical(&mut document, &parent(path), &mut count).map_err(|problem| vec![problem])?;
            if let Some((_, more)) = take(&mut document, "services") {
                services = merge(services, more, &["services"]).map_err(|problem| vec![problem])?;
            }
        }
        settle(&mut services);
        let services = Rc::new(services);
        model.bases.insert(path.to_owned(), Rc::clone(&services));
        Ok(services)
    }
}
