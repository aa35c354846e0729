//! `tls` alone: terminated, and the plaintext relayed as it is.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    process::Stdio,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::{certificates::issue, servers},
    lab::{
        process::{PATIENCE, poll},
        stage::Stage,
        topology::{Lab, VIP4, VIP6},
    },
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::{APP, TRUSTED, VIPS, ask, seen, server};

const LINES: u16 = 5000;
const WEB: u16 = 8443;

fn relays(lab: &Lab) -> Result<String> {
    let certificate = issue(lab.directory(), "app", &[APP])?;
    std::fs::copy(&certificate.cert, lab.directory().join(TRUSTED))?;
    let service = |name: &str, port: u16, servers: String| {
        format!(
            r#"[[services]]
name = "{name}"
addresses = ["{VIP4}", "{VIP6}"]
ports = [{{ port = {port}, handlers = ["tls"] }}]
load_balancer.servers = [{servers}]

"#
        )
    };
    Ok(certificate.toml()
        + &service("lines", LINES, server(lab, 0, servers::TCP))
        + &service("web", WEB, server(lab, 1, servers::HTTP)))
}

#[test]
fn openssl_talks_to_a_plaintext_server() -> Result<()> {
    let stage = Stage::up(relays)?;
    for vip in VIPS {
        for version in ["-tls1_2", "-tls1_3"] {
            let mut openssl = stage.lab.client.command("openssl");
            openssl
                .args(["s_client", "-quiet", version, "-servername", APP, "-verify_return_error"])
                .args(["-connect", &SocketAddr::new(vip, LINES).to_string(), "-CAfile"])
                .arg(stage.lab.directory().join(TRUSTED));
            let openssl = openssl.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut openssl = openssl.stderr(Stdio::null()).spawn()?;
            let mut input = openssl.stdin.take().context("an input")?;
            let mut output = BufReader::new(openssl.stdout.take().context("an output")?);
            for number in 0..3 {
                writeln!(input, "line {number}")?;
                let mut line = String::new();
                output.read_line(&mut line)?;
                assert_eq!(line, format!("b1 line {number}\n"), "{vip} {version}");
            }
            drop(input);
            openssl.kill()?;
            openssl.wait()?;
        }
    }
    poll("the relays are counted out", || Ok(stage.daemon.status()?.live() == 0))?;
    stage.stop()
}

#[test]
fn what_alpn_chose_reaches_the_backend_untouched() -> Result<()> {
    let stage = Stage::up(relays)?;
    let url = format!("https://{APP}:{WEB}/");
    poll("the servers of the one service are known to speak HTTP/2", || {
        Ok(ask(&stage, VIPS[0], &["--http2"], &url)?.version == "2")
    })?;
    for vip in VIPS {
        for (flag, version, spoken) in
            [("--http2", "2", "HTTP/2.0"), ("--http1.1", "1.1", "HTTP/1.1")]
        {
            let answer = ask(&stage, vip, &[flag], &url)?;
            assert_eq!((answer.status, answer.version.as_str()), (200, version));
            let seen = seen(&answer)?;
            assert_eq!((&seen["server"], &seen["version"]), (&"b2".into(), &spoken.into()));
            let headers = seen["headers"].to_string();
            assert!(!headers.contains("forwarded") && !headers.contains("fly-"), "{headers}");
        }
    }
    stage.stop()
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A TLS client that can end its own side and go on reading, which openssl's cannot.
fn connect(stage: &Stage, vip: IpAddr) -> Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(stage.lab.directory().join(TRUSTED))?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let to = SocketAddr::new(vip, LINES);
    let stream = stage.lab.client.within(|| TcpStream::connect_timeout(&to, PATIENCE))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    let session = ClientConnection::new(Arc::new(config), APP.try_into()?)?;
    Ok(StreamOwned::new(session, stream))
}

#[test]
fn one_side_may_end_before_the_other() -> Result<()> {
    let stage = Stage::up(relays)?;
    for vip in VIPS {
        let mut tls = connect(&stage, vip)?;
        // The server answers a line without its end only when it knows that no more will come.
        tls.write_all(b"whole\nhalf")?;
        tls.flush()?;
        let mut answer = vec![0; "b1 whole\n".len()];
        tls.read_exact(&mut answer)?;
        assert_eq!(answer, b"b1 whole\n");
        assert_eq!(stage.daemon.status()?.live(), 1);
        tls.conn.send_close_notify();
        tls.flush()?;
        let mut rest = String::new();
        // Without the server's close_notify this would be an error.
        tls.read_to_string(&mut rest)?;
        assert_eq!(rest, "b1 half\n");
        poll("the relay is counted out", || Ok(stage.daemon.status()?.live() == 0))?;
    }
    stage.stop()
}
