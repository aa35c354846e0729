//! What openssl's client sees of the handshake.

use std::{
    net::{IpAddr, SocketAddr},
    process::Stdio,
};

use anyhow::Result;
use lb_tests::{actors::servers, daemon::process::Daemon, lab::stage::Stage};

use crate::{APP, OTHER, SECOND_VIPS, TRUSTED, VIPS, named_services, nameless_service, server};

/// Handshakes, and hangs up. What s_client wrote, and whether the handshake succeeded.
pub(super) fn s_client(stage: &Stage, vip: IpAddr, arguments: &[&str]) -> Result<(String, bool)> {
    handshake(stage, vip, arguments, Stdio::null())
}

fn handshake(
    stage: &Stage,
    vip: IpAddr,
    arguments: &[&str],
    input: Stdio,
) -> Result<(String, bool)> {
    let mut openssl = stage.lab.client.command("openssl");
    openssl.args(["s_client", "-connect", &SocketAddr::new(vip, 443).to_string(), "-CAfile"]);
    openssl.arg(stage.lab.directory().join(TRUSTED)).args(arguments).stdin(input);
    let output = openssl.output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((String::from_utf8_lossy(&text).into_owned(), output.status.success()))
}

#[test]
fn the_name_picks_certificate_and_protocol() -> Result<()> {
    let stage = Stage::up(named_services)?;
    for vip in VIPS {
        for (name, subject) in
            [(APP, "CN = app"), ("a.wild.example.test", "CN = wild"), (OTHER, "CN = other")]
        {
            for (offered, chosen) in
                [("h2,http/1.1", "ALPN protocol: h2"), ("http/1.1", "ALPN protocol: http/1.1")]
            {
                let (text, done) = s_client(&stage, vip, &["-servername", name, "-alpn", offered])?;
                assert!(done, "{text}");
                for part in [&format!("subject={subject}\n"), chosen, "Verify return code: 0 (ok)"]
                {
                    assert!(text.contains(part), "{name}: no {part:?} in {text}");
                }
            }
            let (text, _) = s_client(&stage, vip, &["-servername", name])?;
            assert!(text.contains("No ALPN negotiated"), "{text}");
        }
        let (text, done) = s_client(&stage, vip, &["-servername", APP, "-alpn", "imap"])?;
        assert!(!done && text.contains("alert no application protocol"), "{text}");
    }
    stage.stop()
}

#[test]
fn an_unknown_name_gets_an_alert_unless_self_signed() -> Result<()> {
    let stage = Stage::up(|lab| {
        let servers = server(lab, 0, servers::HTTP);
        let port =
            r#"{ port = 443, handlers = ["tls"], tls_options = { default_self_signed = true } }"#;
        Ok(named_services(lab)? + &nameless_service("any", port, &servers))
    })?;
    let strange: [&[&str]; 4] = [
        &["-servername", "strange.example.test"],
        // A wildcard in a certificate stands for one label.
        &["-servername", "a.b.wild.example.test"],
        &["-noservername"],
        // An address is no host name, and sent all the same.
        &["-servername", "192.0.2.9"],
    ];
    for arguments in strange {
        for vip in VIPS {
            let (text, done) = s_client(&stage, vip, arguments)?;
            assert!(!done, "{arguments:?}: {text}");
            assert!(text.contains("SSL alert number 112"), "{arguments:?}: {text}");
        }
        for vip in SECOND_VIPS {
            let (text, done) = s_client(&stage, vip, arguments)?;
            assert!(done, "{arguments:?}: {text}");
            assert!(text.contains("self-signed certificate"), "{text}");
        }
    }
    stage.stop()
}

/// openssl's own client keeps a session and comes back with it.
#[test]
fn a_ticket_resumes_on_every_worker_until_a_restart() -> Result<()> {
    const TIMES: usize = 8;
    let mut stage = Stage::up(named_services)?;
    let session = stage.lab.directory().join("session.pem");
    let session = session.to_str().expect("text");
    let come_back = |stage: &Stage, vip, version| {
        s_client(stage, vip, &["-servername", APP, version, "-sess_in", session])
    };
    for vip in VIPS {
        for version in ["-tls1_2", "-tls1_3"] {
            // The ticket comes behind the handshake, so the client stays for an answer.
            let asking = ["-servername", APP, version, "-sess_out", session, "-ign_eof"];
            let (text, _) = ask(&stage, vip, &asking)?;
            assert!(text.contains("New, TLSv1") && text.contains("200 OK"), "{text}");
            // By chance all on the worker that gave it out: once in 2^8 with two.
            for time in 0..TIMES {
                let (text, done) = come_back(&stage, vip, version)?;
                assert!(done && text.contains("Reused, TLSv1"), "{version} {time}: {text}");
            }
        }
    }
    let config = stage.lab.directory().join("lb.toml");
    stage.daemon.stop()?;
    stage.daemon = Daemon::run(&stage.lab, &config)?;
    for vip in VIPS {
        let (text, done) = come_back(&stage, vip, "-tls1_3")?;
        assert!(done && text.contains("New, TLSv1"), "keys do not outlive the daemon: {text}");
    }
    stage.stop()
}

/// As [`s_client`], but asks for `/` first.
fn ask(stage: &Stage, vip: IpAddr, arguments: &[&str]) -> Result<(String, bool)> {
    let request = stage.lab.directory().join("request");
    std::fs::write(
        &request,
        format!("GET / HTTP/1.1\r\nHost: {APP}\r\nConnection: close\r\n\r\n"),
    )?;
    handshake(stage, vip, arguments, std::fs::File::open(request)?.into())
}
