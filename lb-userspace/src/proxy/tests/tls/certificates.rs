//! Certificates that change while we run.

use std::fs;

use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::proxy::tests::actors::{
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

/// nginx/njs-acme#52: a renewal that failed half way left a new key beside the old certificate.
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
    let (store, unsound) =
        CertificateStore::open(&[CertificateSource::Directory(directory.clone())]);
    assert!(unsound.is_empty(), "{unsound:?}");
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
    assert!(store.refresh().is_ok(), "complained about once");
    fs::create_dir_all(&directory).unwrap();
    write("c", "c.example.com");
    settle();
    assert!(!has("b.example.com") && has("c.example.com"), "it is read again when it is back");
    fs::remove_dir_all(&directory).unwrap();
}

/// gravitational/teleport#19996, teamhephy/controller#168, jembi/openhim-core-js#391: one bad pair
/// kept all the others from being served.
#[tokio::test]
async fn a_bad_pair_costs_its_own_names_alone() {
    let backend = backend::saying("hello").await;
    let mut start = Start::new(Plan::https(&[backend.address]));
    let (cert, key) = client::certificate(&[NAME]);
    let (other, _) = client::certificate(&["b.example.com"]);
    start.certificates = vec![(cert.clone(), key.clone()), (other, key)];
    start.unsound = 1;
    let lab = start.start();
    assert_eq!(shown(&lab, NAME, &[&cert]).await, der(&cert));
    assert_eq!(shown(&lab, "b.example.com", &[&cert]).await, None);
    let held = lab.certificates.held();
    let problems = held.iter().filter_map(|held| held.problem.as_deref()).collect::<Vec<_>>();
    assert!(matches!(&problems[..], [one] if one.contains("is not the key of")), "{problems:?}");
    let (other, key) = client::certificate(&["b.example.com"]);
    fs::write(&lab.file(1).cert, &other).unwrap();
    fs::write(&lab.file(1).key, key).unwrap();
    assert!(settle(&lab).is_empty());
    assert_eq!(shown(&lab, "b.example.com", &[&other]).await, der(&other));
    assert!(lab.certificates.held().iter().all(|held| held.problem.is_none()));
    lab.finish().await;
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told_in_time_and_once() {
    let (lab, _) = https().await;
    let validity = lab.certificates.held()[0].validity.unwrap();
    let at = |days: u64| {
        let end = std::time::UNIX_EPOCH + std::time::Duration::from_secs(validity.not_after);
        end - std::time::Duration::from_secs(days * 24 * 60 * 60)
    };
    let told = [40, 29, 28, 6, 5, 1, 0, 0].map(|days| lab.certificates.expiring(at(days)));
    assert_eq!(told.each_ref().map(Vec::len), [0, 1, 0, 1, 0, 1, 1, 0], "{told:?}");
    assert_eq!(told[1][0].0, lab.file(0).cert);
    assert!(told[1][0].1.starts_with("expires within 29 days"), "{told:?}");
    assert!(told[6][0].1.starts_with("has expired"), "{told:?}");
    lab.finish().await;
}
