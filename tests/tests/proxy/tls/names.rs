//! Which service answers: by address, port and name.

use std::net::SocketAddr;

use anyhow::Result;
use lb_tests::{
    actors::{
        client::{Stream, curl, header},
        servers,
    },
    lab::stage::Stage,
};

use crate::{APP, OTHER, SECOND_VIPS, VIPS, ask, named_services, nameless_service, seen, server};

#[test]
fn services_share_an_address_by_name() -> Result<()> {
    let stage = Stage::up(named_services)?;
    for vip in VIPS {
        for (name, expected) in [
            (APP, Some("b1")),
            ("APP.Example.TEST", Some("b1")),
            ("one.wild.example.test", Some("b2")),
            ("wild.example.test", None),
            ("example.test", None),
            ("xapp.example.test", None),
        ] {
            let answer = ask(&stage, vip, &[], &format!("http://{name}/"))?;
            match expected {
                Some(server) => assert_eq!(seen(&answer)?["server"], server, "{name}"),
                None => assert_eq!(answer.status, 404, "{name}"),
            }
        }
        for (name, server) in [(APP, "b1"), ("two.wild.example.test", "b2"), (OTHER, "b3")] {
            for version in ["--http1.1", "--http2"] {
                let answer = ask(&stage, vip, &[version], &format!("https://{name}/"))?;
                assert_eq!(seen(&answer)?["server"], server, "{name}");
            }
        }
        // The names of one address are told the client that asks by address.
        let by_address = format!("http://{}/", SocketAddr::new(vip, 80));
        let answer = curl(&stage.lab.client, &["--include", &by_address])?;
        assert_eq!(answer.status, 404);
        assert!(answer.body.contains("fly-error: unknown-host"), "{}", answer.body);
    }
    stage.stop()
}

#[test]
fn one_connection_may_ask_for_several_services() -> Result<()> {
    let stage = Stage::up(named_services)?;
    for vip in VIPS {
        let servers = stage.lab.client.within(|| -> Result<Vec<String>> {
            let mut stream = Stream::connect(SocketAddr::new(vip, 80))?;
            [APP, "one.wild.example.test", "example.test", APP]
                .into_iter()
                .map(|name| {
                    let request = format!("HEAD / HTTP/1.1\r\nHost: {name}\r\n\r\n");
                    let head = stream.ask(&request)?;
                    Ok(header(&head, "x-backend").unwrap_or("none").to_owned())
                })
                .collect()
        })??;
        assert_eq!(servers, ["b1", "b2", "none", "b1"]);
    }
    stage.stop()
}

#[test]
fn any_port_of_any_address_reaches_its_service() -> Result<()> {
    const PORTS: [u16; 5] = [1, 81, 2049, 33000, 65535];
    let ports: Vec<_> =
        PORTS.iter().map(|port| format!(r#"{{ port = {port}, handlers = ["http"] }}"#)).collect();
    let ports = ports.join(", ");
    let stage = Stage::up(|lab| {
        let one = nameless_service("one", &ports, &server(lab, 0, servers::HTTP));
        let two = nameless_service("two", &ports, &server(lab, 1, servers::HTTP));
        let [v4, v6] = VIPS;
        let [second_v4, second_v6] = SECOND_VIPS;
        let one = one.replace(&second_v4.to_string(), &v4.to_string());
        Ok(one.replace(&second_v6.to_string(), &v6.to_string()) + &two)
    })?;
    for (vips, server) in [(VIPS, "b1"), (SECOND_VIPS, "b2")] {
        for vip in vips {
            for port in PORTS {
                let url = format!("http://{}/", SocketAddr::new(vip, port));
                let answer = curl(&stage.lab.client, &[&url])?;
                assert_eq!(seen(&answer)?["server"], server, "{url}");
            }
            let closed = format!("http://{}/", SocketAddr::new(vip, 82));
            let undeclared = curl(&stage.lab.client, &["--connect-timeout", "1", &closed]);
            assert!(undeclared.is_err(), "{undeclared:?}");
        }
    }
    stage.stop()
}

#[test]
fn force_https_redirects_to_the_same_place() -> Result<()> {
    let stage = Stage::up(named_services)?;
    for vip in VIPS {
        for (arguments, path, expected) in [
            (&["--http1.1"][..], "/a/b?c=d%20e&f", "/a/b?c=d%20e&f"),
            (&["--http2-prior-knowledge"], "/", "/"),
            (&["--head"], "/x", "/x"),
            (&["--data", "a=b"], "/form", "/form"),
            (&["--path-as-is"], "//evil.test/x", "//evil.test/x"),
        ] {
            let answer = ask(&stage, vip, arguments, &format!("http://{OTHER}{path}"))?;
            assert_eq!(answer.status, 301, "{path}");
            assert_eq!(answer.redirect, format!("https://{OTHER}{expected}"));
        }
        let with_port = ["--header", "Host: other.example.test:80"];
        let answer = ask(&stage, vip, &with_port, &format!("http://{OTHER}/"))?;
        assert_eq!(answer.redirect, format!("https://{OTHER}/"));
        // And there it is.
        let followed = ask(&stage, vip, &["--location"], &format!("http://{OTHER}/found"))?;
        assert_eq!(seen(&followed)?["uri"], "/found");
        assert_eq!(seen(&followed)?["server"], "b3");
    }
    stage.stop()
}
