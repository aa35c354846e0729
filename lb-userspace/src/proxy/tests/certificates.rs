//! Certificates that change while we run.

use std::{fs, path::Path};

use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    backend,
    client::{self, Raw},
    lab::{Lab, Plan, Start},
};
use crate::{proxy::CertificateStore, settings::CertificateSource};

const NAME: &str = "app.example.com";

async fn https() -> (Lab, String) {
    let backend = backend::saying("hello").await;
    let mut start = Start::new(Plan::https(&[backend.address]));
    let (cert, key) = client::certificate(&[NAME]);
    start.certificates = vec![(cert.clone(), key)];
    (start.start(), cert)
}

/// The leaf that is shown for `name`, in a full handshake.
async fn shown(lab: &Lab, name: &str, roots: &[&str]) -> Option<CertificateDer<'static>> {
    let config = client::tls_config(roots, &[]);
    let stream = client::tls(lab.address, name, config).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?[0].clone().into_owned())
}

fn der(pem: &str) -> Option<CertificateDer<'static>> {
    Some(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
}

/// Two looks: one sees the change, the next that it has come to rest.
fn settle(lab: &Lab) -> Vec<String> {
    assert!(lab.certificates.refresh().is_ok());
    let errors = lab.certificates.refresh().err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_connections_go_on() {
    let (lab, old) = https().await;
    let config = client::tls_config(&[&old], &[]);
    let stream = client::tls(lab.address, NAME, config).await.unwrap();
    let mut open = Raw::over(stream);
    assert_eq!(open.get("/", "").await.body, "hello");

    let (new, key) = client::certificate(&[NAME, "more.example.com"]);
    fs::write(&lab.file(0).cert, &new).unwrap();
    assert!(lab.certificates.refresh().is_ok(), "half of a pair is not looked at yet");
    assert_eq!(shown(&lab, NAME, &[&old, &new]).await, der(&old));
    fs::write(&lab.file(0).key, key).unwrap();
    assert!(settle(&lab).is_empty());
    assert_eq!(shown(&lab, NAME, &[&old, &new]).await, der(&new));
    assert_eq!(shown(&lab, "more.example.com", &[&new]).await, der(&new));
    assert_eq!(open.get("/", "").await.body, "hello");
    drop(open);
    lab.finish().await;
}

#[tokio::test]
async fn what_is_not_sound_leaves_the_last_that_was() {
    let (lab, old) = https().await;
    let (new, key) = client::certificate(&[NAME]);
    for (path, text, complaint) in [
        (&lab.file(0).cert, &*new, "is not the key of"),
        (&lab.file(0).cert, "", "contains no certificate"),
        (&lab.file(0).key, "nonsense", "contains no certificate"),
    ] {
        fs::write(path, text).unwrap();
        let errors = settle(&lab);
        assert!(errors.len() == 1 && errors[0].contains(complaint), "{errors:?}");
        assert!(settle(&lab).is_empty(), "complained about once");
        assert_eq!(shown(&lab, NAME, &[&old]).await, der(&old));
    }
    fs::remove_file(&lab.file(0).cert).unwrap();
    assert_eq!(settle(&lab).len(), 1);
    assert_eq!(shown(&lab, NAME, &[&old]).await, der(&old));
    fs::write(&lab.file(0).cert, &new).unwrap();
    fs::write(&lab.file(0).key, key).unwrap();
    assert!(settle(&lab).is_empty());
    assert_eq!(shown(&lab, NAME, &[&new]).await, der(&new));
    lab.finish().await;
}

#[test]
fn a_directory_is_followed_as_files_come_and_go() {
    let directory = std::env::temp_dir().join(format!("lb-certificates-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let write = |stem: &str, name: &str| {
        let (cert, key) = client::certificate(&[name]);
        fs::write(directory.join(format!("{stem}.crt")), cert).unwrap();
        fs::write(directory.join(format!("{stem}.key")), key).unwrap();
    };
    write("a", "a.example.com");
    let store = CertificateStore::open(&[CertificateSource::Directory(directory.clone())]).unwrap();
    let settle = || (store.refresh().unwrap(), store.refresh().unwrap());
    let has = |name: &str| !store.names_shown(name).is_empty();
    assert!(has("a.example.com") && !has("b.example.com"));
    write("b", "b.example.com");
    settle();
    assert!(has("a.example.com") && has("b.example.com"));
    fs::remove_file(directory.join("a.crt")).unwrap();
    settle();
    assert!(!has("a.example.com") && has("b.example.com"));
    fs::remove_dir_all(&directory).unwrap();
    let errors = store.refresh().unwrap_err();
    assert!(errors[0].to_string().contains("cannot read the directory"), "{errors:?}");
    assert!(has("b.example.com"), "what vanished whole is more likely unmounted than meant");
    let missing = CertificateStore::open(&[CertificateSource::Directory("/nowhere".into())]);
    assert!(
        missing.err().unwrap().to_string().contains(&Path::new("/nowhere").display().to_string())
    );
}
