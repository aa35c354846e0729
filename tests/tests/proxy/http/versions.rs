//! Versions of HTTP and of TLS.

use anyhow::{Result, ensure};
use lb_tests::{actors::servers, lab::stage::Stage};

use crate::{APP, SECOND_VIPS, VIPS, ask, named_services, nameless_service, seen, server};

#[test]
fn every_version_of_http_and_tls_is_served() -> Result<()> {
    let stage = Stage::up(named_services)?;
    let tls12 = ["--tlsv1.2", "--tls-max", "1.2"];
    let tls13 = ["--tlsv1.3"];
    for vip in VIPS {
        for (scheme, http, tls, version) in [
            ("http", "--http1.0", &[][..], "1.1"),
            ("http", "--http1.1", &[], "1.1"),
            ("http", "--http2-prior-knowledge", &[], "2"),
            ("https", "--http1.1", &tls12, "1.1"),
            ("https", "--http1.1", &tls13, "1.1"),
            ("https", "--http2", &tls12, "2"),
            ("https", "--http2", &tls13, "2"),
        ] {
            let url = format!("{scheme}://{APP}/which?version");
            let answer = ask(&stage, vip, &[&[http], tls].concat(), &url)?;
            assert_eq!(answer.status, 200, "{http} {scheme} {vip}");
            if http != "--http1.0" {
                assert_eq!(answer.version, version, "{http} {scheme} {vip}");
            }
            let seen = seen(&answer)?;
            assert_eq!(seen["server"], "b1");
            assert_eq!(seen["version"], "HTTP/1.1");
            assert_eq!(seen["uri"], "/which?version");
        }
    }
    assert_eq!(
        stage.daemon.status()?.service("app").map(|app| (app.requests, app.failed)),
        Some((14, 0))
    );
    stage.stop()
}

#[test]
fn other_versions_of_tls_are_refused() -> Result<()> {
    let stage = Stage::up(|lab| {
        let modern = nameless_service(
            "modern",
            r#"{ port = 443, handlers = ["tls", "http"], tls_options = { versions = ["TLSv1.3"] } }"#,
            &server(lab, 0, servers::HTTP),
        );
        Ok(named_services(lab)? + &modern)
    })?;
    let url = format!("https://{APP}/");
    // OpenSSL has to be talked into versions that it thinks too old.
    let old = ["--ciphers", "DEFAULT@SECLEVEL=0", "--tlsv1.0", "--tls-max", "1.1"];
    let tls12 = ["--tlsv1.2", "--tls-max", "1.2"];
    for (vips, refused) in [(VIPS, &[&old[..]][..]), (SECOND_VIPS, &[&old, &tls12])] {
        for vip in vips {
            for arguments in refused {
                let Err(error) = ask(&stage, vip, arguments, &url) else {
                    panic!("{vip} took {arguments:?}");
                };
                let error = format!("{error:#}");
                // What is too old to say which signatures it knows fails by that already.
                let alert = if *arguments == &tls12[..] {
                    "alert protocol version"
                } else {
                    "alert handshake failure"
                };
                ensure!(error.contains(alert), "{vip} {arguments:?}: {error}");
            }
            assert_eq!(ask(&stage, vip, &["--tlsv1.3"], &url)?.status, 200);
        }
    }
    stage.stop()
}
