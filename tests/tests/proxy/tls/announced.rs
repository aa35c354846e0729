//! The PROXY protocol with nginx and HAProxy: lb tells them, and HAProxy tells lb.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::{
        certificates::issue,
        client::curl,
        receivers::{self, FRONT, HAPROXY, NGINX},
        servers,
    },
    lab::{
        stage::Stage,
        topology::{CLIENT4, CLIENT6, Lab, VIP4, VIP6},
    },
};

use crate::{APP, TRUSTED, VIPS, ask, seen, server};

fn port(number: u16, handlers: &str, version: &str) -> String {
    let options = format!("{{ version = \"{version}\" }}");
    format!("{{ port = {number}, handlers = [{handlers}], proxy_proto_options = {options} }}")
}

/// Ports 5001 and 5002 in both versions, and 5441 and 5442 the same after TLS.
fn announcing(lab: &Lab, name: &str, index: usize, to: u16, offset: u16) -> String {
    let ports = [
        port(5001 + offset, r#""proxy_proto""#, "v1"),
        port(5002 + offset, r#""proxy_proto""#, "v2"),
        port(5441 + offset, r#""tls", "proxy_proto""#, "v1"),
        port(5442 + offset, r#""tls", "proxy_proto""#, "v2"),
    ];
    format!(
        "[[services]]\nname = \"{name}\"\naddresses = [\"{VIP4}\", \"{VIP6}\"]\nports = [{}]\n\
         load_balancer.servers = [{}]\n\n",
        ports.join(", "),
        server(lab, index, to)
    )
}

#[test]
fn nginx_and_haproxy_learn_who_the_client_is() -> Result<()> {
    const SECOND: u16 = 1000;
    let stage = Stage::up(|lab| {
        let certificate = issue(lab.directory(), "app", &[APP])?;
        std::fs::copy(&certificate.cert, lab.directory().join(TRUSTED))?;
        let nginx = announcing(lab, "nginx", 0, NGINX, 0);
        Ok(certificate.toml() + &nginx + &announcing(lab, "haproxy", 1, HAPROXY, SECOND))
    })?;
    let _nginx = receivers::nginx(&stage.lab, &stage.lab.backends[0])?;
    let _haproxy = receivers::haproxy(&stage.lab, &stage.lab.backends[1])?;
    for (vip, client) in VIPS.into_iter().zip([IpAddr::from(CLIENT4), CLIENT6.into()]) {
        for (scheme, port, authority) in
            [("http", 5001, ""), ("http", 5002, ""), ("https", 5441, ""), ("https", 5442, APP)]
        {
            for (offset, adds) in [(0, ""), (SECOND, authority)] {
                let port = port + offset;
                let arguments = ["--http1.1", "--write-out", "\n%{local_port} %{http_version} -"];
                let answer = ask(&stage, vip, &arguments, &format!("{scheme}://{APP}:{port}/"))?;
                let words: Vec<_> = answer.body.split_whitespace().collect();
                // curl's own format takes the status' place here: its port.
                let own = answer.status.to_string();
                let (client, vip, port) = (client.to_string(), vip.to_string(), port.to_string());
                let mut expected = vec![&*client, &own, &vip, &port];
                expected.extend(Some(adds).filter(|adds| !adds.is_empty()));
                assert_eq!(words, expected, "{scheme} {port}");
            }
        }
    }
    stage.daemon.when_quiet()?;
    stage.stop()
}

#[test]
fn haproxy_in_front_says_who_the_client_is() -> Result<()> {
    for send in ["send-proxy", "send-proxy-v2"] {
        for (vip, network) in
            VIPS.into_iter().zip([format!("{CLIENT4}/32"), format!("{CLIENT6}/128")])
        {
            let stage = Stage::up(|lab| {
                Ok(format!(
                    "[proxy]\nproxy_proto_from = [\"{network}\"]\n\n[[services]]\nname = \"web\"\n\
                     addresses = [\"{VIP4}\", \"{VIP6}\"]\n\
                     ports = [{{ port = 80, handlers = [\"http\"] }}]\n\
                     load_balancer.servers = [{}]\n",
                    server(lab, 0, servers::HTTP)
                ))
            })?;
            let _front = receivers::haproxy_in_front(&stage.lab, send, SocketAddr::new(vip, 80))?;
            let answer = curl(&stage.lab.client, &[&format!("http://127.0.0.1:{FRONT}/")])?;
            let headers = seen(&answer)?["headers"].to_string();
            for (name, value) in [("fly-client-ip", "127.0.0.1"), ("x-forwarded-for", "127.0.0.1")]
            {
                assert!(headers.contains(&format!("[\"{name}\",\"{value}\"]")), "{send} {headers}");
            }
            let port = format!("[\"fly-forwarded-port\",\"{FRONT}\"]");
            assert!(headers.contains(&port), "{send} {headers}");
            // Who does not say so is refused, where the network must.
            let bare = curl(&stage.lab.client, &[&format!("http://{}/", SocketAddr::new(vip, 80))]);
            let error = bare.err().context("no refusal")?.to_string();
            assert!(error.contains("reset"), "{error}");
            stage.stop()?;
        }
    }
    Ok(())
}
