//! Every file in `examples/` is a valid configuration, and shows what its name says.

use std::{collections::BTreeMap, fs, path::Path};

use lb::{
    config,
    service::{Forwarding, Handler, Protocol, Strategy},
    settings::Config,
};

#[test]
fn every_example_is_valid_and_shows_what_its_name_says() {
    let mut examples = load_all();
    let mut shows = |name: &str, what: fn(&Config) -> bool| {
        let example = examples.remove(name).unwrap_or_else(|| panic!("there is no {name}"));
        assert!(what(&example), "{name}");
    };
    shows("lb.toml", |config| config.services.len() == 3);
    shows("steered-tcp.toml", |config| config.services[0].ports[0].handlers.is_empty());
    shows("https-site.toml", |config| {
        let [https, http] = &config.services[0].ports[..] else { return false };
        https.handlers == [Handler::Tls, Handler::Http]
            && http.force_https.is_some()
            && config.certificates.len() == 1
            && config.services[0].pool.strategy == Strategy::P2c
    });
    shows("direct-return.toml", |config| {
        config.services[0].steering.forwarding == Forwarding::Ipip
    });
    shows("udp.toml", |config| config.services[0].protocol == Protocol::Udp);
    shows("fly-replay.toml", |config| {
        let regions = config.services[0].pool.servers.iter().map(|server| &server.region);
        config.services.len() == 2 && regions.clone().min() != regions.max()
    });
    assert!(examples.is_empty(), "not described here: {:?}", examples.keys());
}

fn load_all() -> BTreeMap<String, Config> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let files =
        fs::read_dir(directory).expect("the examples").map(|entry| entry.expect("an entry"));
    let load = |path: &Path| config::load(path).unwrap_or_else(|error| panic!("{error}"));
    files
        .map(|file| (file.file_name().into_string().expect("a name"), load(&file.path())))
        .collect()
}
