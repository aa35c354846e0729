//! Certificates from a directory: which is shown, and what happens when they change; certificates
//! of clients; and how failures show in `lb status`.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::{
        certificates::{issue, issue_rsa},
        client::curl,
        servers,
    },
    lab::{
        process::poll,
        stage::Stage,
        topology::{Lab, VIP4, VIP6},
    },
};

use crate::{APP, OTHER, TRUSTED, VIPS, ask, server, tls::handshake::s_client};

fn service(lab: &Lab, port: &str) -> String {
    format!(
        "[[services]]\nname = \"web\"\naddresses = [\"{VIP4}\", \"{VIP6}\"]\nports = [{port}]\n\
         load_balancer.servers = [{}]\n",
        server(lab, 0, servers::HTTP)
    )
}

/// An ECDSA and an RSA certificate for one name, in a directory.
fn from_directory(lab: &Lab) -> Result<String> {
    let directory = lab.directory().join("certificates");
    fs::create_dir_all(&directory)?;
    let ecdsa = issue(&directory, "ecdsa", &[APP])?;
    let rsa = issue_rsa(&directory, "rsa", &[APP])?;
    trust(lab, &[&ecdsa.cert, &rsa.cert])?;
    let directory = directory.display();
    let certificates = format!("[[certificates]]\ndirectory = \"{directory}\"\n\n");
    Ok(certificates + &service(lab, r#"{ port = 443, handlers = ["tls", "http"] }"#))
}

fn trust(lab: &Lab, certificates: &[&Path]) -> Result<()> {
    let texts = certificates.iter().map(fs::read_to_string);
    let text = texts.collect::<Result<Vec<_>, _>>()?.concat();
    Ok(fs::write(lab.directory().join(TRUSTED), text)?)
}

#[test]
fn rsa_is_for_those_who_need_it() -> Result<()> {
    let stage = Stage::up(from_directory)?;
    for vip in VIPS {
        for (arguments, subject) in [
            (&[][..], "CN = ecdsa"),
            (&["-tls1_2"], "CN = ecdsa"),
            (&["-sigalgs", "rsa_pss_rsae_sha256:RSA+SHA256"], "CN = rsa"),
            (&["-tls1_2", "-sigalgs", "RSA+SHA256"], "CN = rsa"),
            // Its signature algorithms include ECDSA, its suites do not.
            (&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "CN = rsa"),
        ] {
            let (text, done) = s_client(&stage, vip, &[&["-servername", APP], arguments].concat())?;
            assert!(done, "{arguments:?}: {text}");
            assert!(text.contains(&format!("subject={subject}\n")), "{arguments:?}: {text}");
        }
    }
    stage.stop()
}

#[test]
fn a_directory_is_followed_without_touching_connections() -> Result<()> {
    let stage = Stage::up(from_directory)?;
    let lab = &stage.lab;
    let directory = lab.directory().join("certificates");
    // A response that lasts until it is released: its connection lives through the change.
    let mut held = lab.client.command("curl");
    let to = format!("::{VIP4}:");
    held.args(["--silent", "--no-buffer", "--connect-to", &to, "--insecure"]);
    held.arg(format!("https://{APP}/hold")).stdout(std::process::Stdio::piped());
    let held = held.spawn()?;
    poll("the response has begun", || Ok(stage.ask_backend(0, "/held")? == "1"))?;

    let other = issue(&directory, "other", &[OTHER])?;
    fs::remove_file(directory.join("ecdsa.pem"))?;
    trust(lab, &[&other.cert, &directory.join("rsa.pem")])?;
    poll("the new certificate is shown", || {
        let (text, done) = s_client(&stage, VIPS[0], &["-servername", OTHER])?;
        Ok(done && text.contains("subject=CN = other\n"))
    })?;
    let (text, _) = s_client(&stage, VIPS[1], &["-servername", APP])?;
    assert!(text.contains("subject=CN = rsa\n"), "{text}");

    fs::write(directory.join("other.pem"), "nonsense")?;
    poll("the log says so", || Ok(stage.daemon.log().contains("contains no certificate")))?;
    let (text, _) = s_client(&stage, VIPS[0], &["-servername", OTHER])?;
    assert!(text.contains("subject=CN = other\n"), "{text}");

    stage.release()?;
    let held = held.wait_with_output()?;
    assert!(held.status.success(), "{held:?}");
    assert_eq!(String::from_utf8(held.stdout)?.trim(), "b1\nreleased");
    stage.daemon.when_quiet()?;
    stage.stop()
}

#[test]
fn clients_show_their_certificates() -> Result<()> {
    let stage = Stage::up(|lab| {
        let web = issue(lab.directory(), "web", &[APP])?;
        trust(lab, &[&web.cert])?;
        // Self-signed, so each is its own authority; only one of them is ours.
        let good = issue(lab.directory(), "good", &["ann.example.test"])?;
        issue(lab.directory(), "bad", &["bob.example.test"])?;
        let ca = good.cert.display();
        let options = format!("tls_options = {{ client_ca = \"{ca}\" }}");
        let port = format!(r#"{{ port = 443, handlers = ["tls", "http"], {options} }}"#);
        Ok(web.toml() + &service(lab, &port))
    })?;
    let file = |name: &str| stage.lab.directory().join(name).display().to_string();
    for vip in VIPS {
        let good = ["--cert", &file("good.pem"), "--key", &file("good-key.pem")];
        assert_eq!(ask(&stage, vip, &good, &format!("https://{APP}/"))?.status, 200);
        let bad = ["--cert", &file("bad.pem"), "--key", &file("bad-key.pem")];
        for (arguments, alert) in [(&bad[..], "unknown ca"), (&[][..], "certificate")] {
            // In TLS 1.3 the alert comes when curl has its handshake behind it and sends.
            let arguments = [&["--tls-max", "1.2"], arguments].concat();
            let error = ask(&stage, vip, &arguments, &format!("https://{APP}/"));
            let error = error.err().context("it was let in")?.to_string();
            assert!(error.contains(alert), "{error}");
        }
    }
    let status = stage.daemon.status()?;
    assert_eq!(status.failed_handshakes("bad_client_certificate"), Some(4));
    stage.stop()
}

#[test]
fn failed_handshakes_show_in_the_status() -> Result<()> {
    let stage = Stage::up(from_directory)?;
    let (_, done) = s_client(&stage, VIPS[0], &["-servername", APP])?;
    assert!(done);
    for arguments in [
        &["-servername", "strange.example.test"][..],
        &["-servername", APP, "-alpn", "imap"],
        &["-servername", APP, "-groups", "X448", "-tls1_3"],
    ] {
        let (text, done) = s_client(&stage, VIPS[0], arguments)?;
        assert!(!done, "{text}");
    }
    // curl trusts nobody here, and says so; then it does not speak TLS at all.
    let to = format!("::[{VIP6}]:");
    let distrustful = ["--connect-to", &to, &format!("https://{APP}/")];
    assert!(curl(&stage.lab.client, &distrustful).is_err());
    let plain = format!("http://{}/", SocketAddr::new(VIPS[1], 443));
    assert_eq!(curl(&stage.lab.client, &[&plain])?.status, 400);
    for kind in [
        "unrecognized_name",
        "no_application_protocol",
        "no_common_algorithm",
        "refused_by_client",
        "not_tls",
    ] {
        stage.daemon.when(kind, |status| status.failed_handshakes(kind) == Some(1))?;
    }
    assert_eq!(stage.daemon.status()?.handshakes.completed, 1);
    stage.stop()
}
