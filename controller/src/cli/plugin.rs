//! The program as a plugin of Docker's command line: `docker composed ...`, and `docker rollout ...` as docker-rollout has
//! it. Docker runs a file `docker-NAME` with all its own words, then NAME, then the plugin's.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use serde_json::{Value, json};

/// What Docker asks a plugin first.
const METADATA: &str = "docker-cli-plugin-metadata";

/// What the words of the command line come to.
#[derive(Debug, PartialEq)]
pub enum Words {
    /// Docker asks what this is.
    Metadata(Value),
    /// The words without those that are Docker's.
    Own(Vec<OsString>),
    /// Docker was told something that composed cannot do.
    Refused(String),
}

/// Takes Docker's words from those of the command line.
pub fn words(all: impl IntoIterator<Item = OsString>) -> Words {
    let mut all = all.into_iter();
    let program = all.next().unwrap_or_else(|| "composed".into());
    let mut all: Vec<_> = all.collect();
    let name = Path::new(&program).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let plugin = name.strip_prefix("docker-").map(str::to_owned);
    if all.first().is_some_and(|word| word == METADATA) {
        return Words::Metadata(metadata(plugin.as_deref()));
    }
    let mut own = vec![program];
    if let Some(plugin) = plugin {
        let (engine, rest) = match docker(&all, &plugin) {
            Ok(found) => found,
            Err(why) => return Words::Refused(why),
        };
        // docker-rollout is one verb of this program, and the others are not there under its name.
        own.extend((plugin == "rollout").then(|| "rollout".into()));
        own.extend(engine.into_iter().flat_map(|(option, value)| [option.into(), value]));
        all = rest;
    }
    own.extend(all);
    Words::Own(own)
}

/// What docker was told of the engine, as this program's option and its value.
type EngineOption = (&'static str, OsString);

/// Docker's own words before the plugin's name: which engine, and what follows the name.
fn docker(all: &[OsString], plugin: &str) -> Result<(Vec<EngineOption>, Vec<OsString>), String> {
    let mut engine = Vec::new();
    let mut words = all.iter();
    while let Some(word) = words.next() {
        if word == plugin {
            return Ok((engine, words.cloned().collect()));
        }
        let text = word.to_string_lossy();
        let (key, given) = text.split_once('=').map_or((text.as_ref(), None), |(key, value)| (key, Some(value)));
        match key {
            "-D" | "--debug" => {}
            "-H" | "--host" | "-c" | "--context" | "-l" | "--log-level" => {
                let value = given.map(OsString::from).or_else(|| words.next().cloned());
                let option = match key {
                    "-H" | "--host" => Some("--host"),
                    "-c" | "--context" => Some("--context"),
                    _ => None,
                };
                engine.extend(option.zip(value));
            }
            // Run as a program of its own.
            _ if !key.starts_with('-') || matches!(key, "--help" | "-h" | "--version" | "-V" | "-v") => break,
            _ => {
                return Err(format!(
                    "composed does not know docker's {key}: say where the engine is with `docker -H URL {plugin} ...`, \
                     `docker --context NAME {plugin} ...` or DOCKER_HOST"
                ));
            }
        }
    }
    Ok((Vec::new(), all.to_vec()))
}

fn metadata(plugin: Option<&str>) -> Value {
    let short = match plugin {
        Some("rollout") => "Replace the containers of a Compose service without downtime",
        _ => "Reconcile Compose projects: converge, roll out, roll back",
    };
    json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "composed",
        "Version": env!("CARGO_PKG_VERSION"),
        "ShortDescription": short,
    })
}

#[cfg(test)]
mod tests {
    use super::{Words, words};

    fn own(line: &str) -> String {
        match words(line.split(' ').map(Into::into)) {
            Words::Own(words) => words.join(std::ffi::OsStr::new(" ")).into_string().unwrap(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_words_of_docker_are_taken_off() {
        assert_eq!(own("composed plan ."), "composed plan .");
        assert_eq!(own("/p/docker-composed composed plan ."), "/p/docker-composed plan .");
        assert_eq!(own("docker-composed -H tcp://x:1 --debug composed plan"), "docker-composed --host tcp://x:1 plan");
        assert_eq!(own("docker-rollout rollout -f a.yaml web"), "docker-rollout rollout -f a.yaml web");
        assert_eq!(own("docker-rollout --host=tcp://x:1 rollout web"), "docker-rollout rollout --host tcp://x:1 web");
        for context in ["--context far", "--context=far", "-c far"] {
            let told = own(&format!("docker-rollout {context} rollout web"));
            assert_eq!(told, "docker-rollout rollout --context far web");
        }
        // By hand, without docker.
        assert_eq!(own("docker-rollout -v"), "docker-rollout rollout -v");
        assert_eq!(own("docker-rollout web"), "docker-rollout rollout web");
        assert_eq!(own("docker-composed plan"), "docker-composed plan");
        assert_eq!(own("docker-composed --version"), "docker-composed --version");
    }

    #[test]
    fn another_engine_than_the_one_meant_is_never_acted_on() {
        assert!(own("docker-composed --tlsverify composed apply").contains("Refused"));
    }

    #[test]
    fn docker_is_told_what_it_is() {
        let Words::Metadata(told) = words(["docker-rollout", "docker-cli-plugin-metadata"].map(Into::into)) else {
            panic!("it was asked")
        };
        assert_eq!(told["SchemaVersion"], "0.1.0");
        for key in ["Vendor", "Version", "ShortDescription"] {
            assert!(told[key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
        }
    }
}
