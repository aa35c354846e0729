//! Regions and instances, and backends that send requests to each other.

use std::{fs, net::SocketAddr};

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::{
        client::{Stream, curl, header},
        servers,
    },
    lab::{
        stage::Stage,
        topology::{Lab, VIP4, VIP6},
    },
};

use crate::{APP, OTHER, VIPS, seen};

/// `web` on b1 in ours, on b2 in a nearer and on b3 in a farther region; `other` on b3.
fn placed(lab: &Lab) -> String {
    let server = |index: usize, region: &str| {
        let addresses = lab.backends[index].addresses();
        let items = addresses.map(|address| {
            let address = SocketAddr::new(address, servers::HTTP);
            let instance = format!("m-{}-{}", index + 1, if address.is_ipv4() { 4 } else { 6 });
            format!(
                "{{ address = \"{address}\", region = \"{region}\", instance = \"{instance}\" }}"
            )
        });
        items.join(", ")
    };
    let service = |name: &str, host: &str, servers: String| {
        format!(
            "[[services]]\nname = \"{name}\"\naddresses = [\"{VIP4}\", \"{VIP6}\"]\n\
             hostnames = [\"{host}\"]\nports = [{{ port = 80, handlers = [\"http\"] }}]\n\
             load_balancer.health_check = {{ path = \"/healthz\", interval = \"100ms\" }}\n\
             load_balancer.servers = [{servers}]\n\n"
        )
    };
    let web = [server(0, "fra"), server(2, "sjc"), server(1, "ams")].join(", ");
    "[regions]\nus = [\"sjc\"]\n\n".to_owned()
        + &service("web", APP, web)
        + &service("other", OTHER, server(2, "sjc"))
}

fn up() -> Result<Stage> {
    Stage::up(|lab| Ok(placed(lab)))
}

fn ask(stage: &Stage, vip: std::net::IpAddr, path: &str, headers: &[&str]) -> Result<String> {
    let host = format!("Host: {APP}");
    let url = format!("http://{}{path}", SocketAddr::new(vip, 80));
    let mut arguments = vec!["--header", &host];
    for header in headers {
        arguments.extend(["--header", header]);
    }
    arguments.push(&url);
    let answer = curl(&stage.lab.client, &arguments)?;
    if answer.status != 200 {
        return Ok(answer.status.to_string());
    }
    Ok(seen(&answer)?["server"].as_str().context("a server")?.to_owned())
}

#[test]
fn requests_stay_near_while_they_can_and_go_where_they_ask() -> Result<()> {
    let stage = up()?;
    for vip in VIPS {
        for _ in 0..10 {
            assert_eq!(ask(&stage, vip, "/", &[])?, "b1");
        }
        for (header, server) in [
            ("Fly-Prefer-Region: us", "b3"),
            ("Fly-Prefer-Region: mars, ams", "b2"),
            ("Fly-Prefer-Instance-Id: m-2-6", "b2"),
            ("Fly-Force-Instance-Id: m-3-4", "b3"),
            ("Fly-Force-Instance-Id: nobody", "503"),
        ] {
            assert_eq!(ask(&stage, vip, "/", &[header])?, server, "{header}");
        }
    }
    // Ours goes down: the others follow in what is nearest when nothing else is said.
    let is_down = |address: &str, down: bool| {
        let address = address.to_owned();
        move |status: &lb_tests::daemon::status::Status| {
            let mut backends = status.services.iter().flat_map(|service| &service.backends);
            backends.any(|it| it.address.starts_with(&address) && it.up != down)
        }
    };
    stage.ask_backend(0, "/healthz/503")?;
    for address in stage.lab.backends[0].addresses() {
        let shown = SocketAddr::new(address, servers::HTTP).to_string();
        stage.daemon.when("b1 is down", is_down(&shown, true))?;
    }
    let elsewhere = ask(&stage, VIPS[0], "/", &[])?;
    assert!(["b2", "b3"].contains(&&*elsewhere), "{elsewhere}");
    stage.stop()
}

#[test]
fn backends_send_requests_to_each_other() -> Result<()> {
    let stage = up()?;
    let upload = stage.lab.directory().join("upload");
    let small = stage.lab.directory().join("small");
    fs::write(&upload, vec![b'x'; (1 << 20) + 1])?;
    fs::write(&small, vec![b'x'; 1 << 20])?;
    for vip in VIPS {
        for (directions, server) in [
            ("region=us;state=why", "b3"),
            ("instance=m-2-4", "b2"),
            ("app=other;timeout=10s;fallback=force_self", "b3"),
            ("region=mars", "503"),
            ("app=nobody", "502"),
        ] {
            let header = format!("x-replay: {directions}");
            assert_eq!(ask(&stage, vip, "/replay", &[&header])?, server, "{directions}");
        }
        // curl 7.88 takes an early answer by HTTP/2 for an error.
        for (file, version, status) in [
            (&small, "--http1.1", 200),
            (&small, "--http2-prior-knowledge", 200),
            (&upload, "--http1.1", 413),
        ] {
            let url = format!("http://{}/replay", SocketAddr::new(vip, 80));
            let host = format!("Host: {APP}");
            let data = format!("@{}", file.display());
            let answer = curl(
                &stage.lab.client,
                &[
                    version,
                    "--header",
                    &host,
                    "--header",
                    "x-replay: app=other",
                    "--data-binary",
                    &data,
                    &url,
                ],
            )?;
            assert_eq!(answer.status, status, "{version}: {}", answer.body);
            if status == 200 {
                let seen = seen(&answer)?;
                assert_eq!(
                    (&seen["server"], &seen["body_bytes"]),
                    (&"b3".into(), &(1 << 20).into())
                );
                assert!(seen["headers"].to_string().contains("instance=m-1-"), "{seen}");
            }
        }
    }
    stage.daemon.when_quiet()?;
    stage.stop()
}

/// The connection switches at the backend that takes the request, and not at the one that sent it
/// away.
#[test]
fn an_upgrade_is_replayed_before_it_switches() -> Result<()> {
    let stage = up()?;
    for vip in VIPS {
        let mut stream = stage.lab.client.within(|| Stream::connect((vip, 80).into()))??;
        let head = stream.ask(&format!(
            "GET /upgrade HTTP/1.1\r\nHost: {APP}\r\nConnection: upgrade\r\nUpgrade: echo\r\n\
             x-replay: app=other\r\n\r\n"
        ))?;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(header(&head, "x-backend"), Some("b3"), "{head}");
        assert_eq!(header(&head, "fly-replay"), None, "{head}");
        stream.send("both ways")?;
        assert_eq!(stream.take("both ways".len())?, "both ways");
    }
    stage.daemon.when_quiet()?;
    stage.stop()
}

/// The client hears `100 Continue` once, whoever gets the body in the end.
#[test]
fn a_request_that_expects_100_continue_is_replayed_with_its_body() -> Result<()> {
    const BODY: &str = "said once, heard twice";
    let stage = up()?;
    for vip in VIPS {
        let mut stream = stage.lab.client.within(|| Stream::connect((vip, 80).into()))??;
        let length = BODY.len();
        let interim = stream.ask(&format!(
            "POST /mirror HTTP/1.1\r\nHost: {APP}\r\nExpect: 100-continue\r\n\
             Content-Length: {length}\r\nx-replay: app=other\r\n\r\n"
        ))?;
        assert_eq!(interim, "HTTP/1.1 100 Continue\r\n\r\n");
        let head = stream.ask(BODY)?;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(header(&head, "x-backend"), Some("b3"), "{head}");
        let chunk = format!("{length:x}\r\n{BODY}\r\n0\r\n\r\n");
        let is_chunked = header(&head, "transfer-encoding").is_some();
        let body = if is_chunked { &*chunk } else { BODY };
        assert_eq!(stream.take(body.len())?, body);
    }
    stage.daemon.when_quiet()?;
    stage.stop()
}
