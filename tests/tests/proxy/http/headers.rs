//! What the backend is told of a request: row by row the table of the `http` handler.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::client::Answer,
    lab::{
        stage::{REGION, Stage},
        topology::{CLIENT4, CLIENT6},
    },
};

use crate::{APP, VIPS, ask, named_services, seen};

/// The values of header `name`, in their order.
fn values(answer: &Answer, name: &str) -> Result<Vec<String>> {
    let seen = seen(answer)?;
    let headers = seen["headers"].as_array().context("no headers")?;
    let named = headers.iter().filter(|header| header[0] == name);
    Ok(named.map(|header| header[1].as_str().unwrap_or_default().to_owned()).collect())
}

const FORGED: [&str; 12] = [
    "Fly-Client-IP: 192.0.2.1",
    "X-Forwarded-For: 192.0.2.1",
    "X-Forwarded-For: 192.0.2.2, 192.0.2.3",
    "X-Forwarded-Proto: gopher",
    "X-Forwarded-SSL: maybe",
    "X-Forwarded-Port: 1234",
    "Fly-Forwarded-Port: 1234",
    "Fly-Region: mars",
    "Fly-Region: venus",
    "Fly-Preferred-Instance-Unavailable: m-1",
    "Connection: Fly-Client-IP, X-Forwarded-For, X-Forwarded-Proto",
    "X-Mine: kept",
];

#[test]
fn backends_are_told_the_truth_about_the_client() -> Result<()> {
    let stage = Stage::up(named_services)?;
    let clients = [IpAddr::from(CLIENT4), CLIENT6.into()];
    for (vip, client) in VIPS.into_iter().zip(clients) {
        let client = client.to_string();
        for (scheme, version, ssl, port) in [
            ("http", "--http1.1", "off", "80"),
            ("http", "--http2-prior-knowledge", "off", "80"),
            ("https", "--http1.1", "on", "443"),
            ("https", "--http2", "on", "443"),
        ] {
            let url = format!("{scheme}://{APP}/");
            let honest = ask(&stage, vip, &[version], &url)?;
            let mut arguments = vec![version];
            for header in FORGED {
                // HTTP/2 has no `Connection`; curl would send it all the same.
                if version == "--http1.1" || !header.starts_with("Connection") {
                    arguments.extend(["--header", header]);
                }
            }
            let forged = ask(&stage, vip, &arguments, &url)?;
            for (name, told, told_the_forger) in [
                ("host", &[APP][..], &[APP][..]),
                ("fly-client-ip", &[&client], &[&client]),
                ("x-forwarded-for", &[&client], &[&client]),
                ("x-forwarded-proto", &[scheme], &[scheme]),
                ("x-forwarded-ssl", &[ssl], &[ssl]),
                ("x-forwarded-port", &[port], &["1234"]),
                ("fly-forwarded-port", &[port], &[port]),
                ("fly-region", &[REGION], &[REGION]),
                ("fly-preferred-instance-unavailable", &[], &[]),
                ("connection", &[], &[]),
                ("x-mine", &[], &["kept"]),
            ] {
                assert_eq!(values(&honest, name)?, told, "{name} by {version} {scheme}");
                assert_eq!(values(&forged, name)?, told_the_forger, "forged {name} by {version}");
            }
        }
    }
    stage.stop()
}
