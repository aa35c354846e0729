//! The checks of `lb check` beyond reading the configuration: what a start does, except for
//! changes.

use std::collections::BTreeSet;

use tokio::runtime;

use crate::app::reconcile::address_conflicts;
use crate::{
    admin::AdminListener,
    config::NamedFile,
    datapath::Pins,
    host::{self, HostReader},
    proxy::{self, CertificateStore},
    settings::Config,
};

/// Returns why a start on this host would be refused. Empty if the host has none of the configured
/// interfaces: the configuration is for another host.
#[must_use]
pub fn refusals(config: &Config) -> Vec<String> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let looked = runtime.map_err(anyhow::Error::from);
    let looked = looked.and_then(|runtime| runtime.block_on(look(config)));
    looked.unwrap_or_else(|error| vec![format!("cannot look at this host: {error:#}")])
}

async fn look(config: &Config) -> anyhow::Result<Vec<String>> {
    let here = HostReader::open()?;
    let interfaces = here.interfaces().await?;
    let is_named = |name: &str| config.node.interfaces.iter().any(|it| it.matches(name));
    if !interfaces.iter().any(|interface| is_named(&interface.name)) {
        return Ok(Vec::new());
    }
    let (services, none) = (&config.services, BTreeSet::new());
    let mut refusals = address_conflicts::refusals(&here, &interfaces, services, &none).await?;
    let tried = [
        host::check_source_ports(&config.node.source_ports).map_err(anyhow::Error::from),
        AdminListener::examine(&config.admin.listen).map_err(anyhow::Error::from),
        Pins::examine(&config.node.pin_dir).map_err(anyhow::Error::from),
    ];
    let refused = tried.into_iter().filter_map(Result::err);
    refusals.extend(refused.map(|error| format!("{error:#}")));
    Ok(refusals)
}

/// Returns what is wrong with a file that a configuration names.
#[must_use]
pub fn examine(file: &NamedFile) -> Vec<String> {
    match file {
        NamedFile::Certificates(source) => {
            let (_, unsound) = CertificateStore::open(std::slice::from_ref(source));
            unsound.iter().map(ToString::to_string).collect()
        }
        NamedFile::ClientCa(path) => {
            proxy::examine_client_ca(path).iter().map(ToString::to_string).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config;

    #[test]
    fn what_is_wrong_with_a_file_is_told_where_it_is_named() {
        let directory = std::env::temp_dir().join(format!("lb-rehearsal-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for name in ["a", "b"] {
            let made = rcgen::generate_simple_self_signed(vec![format!("{name}.example.com")]);
            let made = made.unwrap();
            fs::write(directory.join(format!("{name}.crt")), made.cert.pem()).unwrap();
            let key = made.signing_key.serialize_pem();
            fs::write(directory.join(format!("{name}.key")), key).unwrap();
        }
        fs::write(directory.join("empty.pem"), "").unwrap();
        let file = directory.join("lb.toml");
        let load = |certificates: &str, ca: &str| {
            let text = format!(
                "[node]\ninterfaces = ['eth0']\n{certificates}\n[[services]]\nname = 'web'\n\
                 addresses = ['203.0.113.1']\nports = [{{ port = 443, handlers = ['tls'], \
                 tls_options = {{ client_ca = '{ca}' }} }}]\n\
                 load_balancer.servers = [{{ address = '10.0.0.1:80' }}]\n"
            );
            fs::write(&file, text).unwrap();
            config::load_checked(&file, crate::app::examine).map_err(|error| error.to_string())
        };
        let pair =
            |cert: &str, key: &str| format!("[[certificates]]\ncert = '{cert}'\nkey = '{key}'\n");
        assert!(load(&pair("a.crt", "a.key"), "a.crt").is_ok());
        for (certificates, ca, expected) in [
            (pair("a.crt", "b.key"), "a.crt", &["lb.toml:3:1", "b.key is not the key of"][..]),
            (
                pair("a.crt", "a.key") + &pair("no.crt", "a.key"),
                "a.crt",
                &["lb.toml:6:1", "cannot read certificates from"],
            ),
            (
                "[[certificates]]\ndirectory = 'nowhere'\n".to_owned(),
                "a.crt",
                &["lb.toml:3:1", "cannot read the directory"],
            ),
            (
                pair("a.crt", "a.key"),
                "empty.pem",
                &["lb.toml:10:72", "empty.pem contains no certificate"],
            ),
        ] {
            let error = load(&certificates, ca).unwrap_err();
            assert!(expected.iter().all(|words| error.contains(words)), "{error}");
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
