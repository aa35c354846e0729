//! Connections of what was removed end when it is time, and not before.
//!
//! Users of others lose WebSockets when an unrelated route changes (caddy#5471, #6420, #7222;
//! ingress-nginx#2461, #7115, #11515), and cannot tell when old ones will go (haproxy#1876).

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Result, ensure};
use lb_tests::{
    actors::client::{Stream, header},
    daemon::process::{Daemon, reload},
    lab::{
        process::poll,
        topology::{Lab, vips},
    },
};

use crate::scene::{Scene, WEB};

/// Opens a connection inside the client's namespace.
fn connect(lab: &Lab, to: SocketAddr) -> Result<Stream> {
    lab.client.within(|| Stream::connect(to))?
}

/// Opens a WebSocket, or what looks like one to a proxy.
fn websocket(lab: &Lab, to: SocketAddr) -> Result<Stream> {
    let mut stream = connect(lab, to)?;
    let head = stream.ask(
        "GET /upgrade HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    )?;
    ensure!(head.starts_with("HTTP/1.1 101"), "{head}");
    echoes(&mut stream)?;
    Ok(stream)
}

fn echoes(stream: &mut Stream) -> Result<()> {
    stream.send("still there?")?;
    let heard = stream.take("still there?".len())?;
    ensure!(heard == "still there?", "{heard}");
    Ok(())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n")
}

fn apply(lab: &Lab, text: &str) -> Result<String> {
    std::fs::write(lab.directory().join("lb.toml"), text)?;
    let (done, said) = reload(lab, &[])?;
    ensure!(done, "{said}");
    Ok(said)
}

#[test]
fn a_removed_service_ends_in_order() -> Result<()> {
    let Scene { lab, daemon, servers, talks } = Scene::up()?;
    drop(talks);
    let all = Scene::services(&lab, lab.backends.len(), 0, false);
    let (node, rest) = all.split_once("[[services]]").expect("services");
    let (web, others) = rest.split_once("[[services]]").expect("several");
    let deadline = "drain_deadline = '6s'";
    let with = format!("{node}[[services]]{web}\n{deadline}\n[[services]]{others}");
    let without = format!("{node}[[services]]{others}");
    // The key stands after a sub-table's: it belongs before.
    let with = with.replace(&format!("\n{deadline}"), "").replacen(
        "name = \"web\"",
        &format!("name = \"web\"\n{deadline}"),
        1,
    );
    apply(&lab, &with)?;
    for vip in vips(WEB) {
        let mut held = websocket(&lab, vip)?;
        let mut idle = connect(&lab, vip)?;
        idle.ask(&get("/status/204"))?;
        let mut busy = connect(&lab, vip)?;
        busy.send(&get("/delay/1500"))?;
        // It has arrived at a server before its service goes.
        daemon.when("the request is under way", |status| status.live() >= 2)?;

        let said = apply(&lab, &without)?;
        assert!(said.contains("web: removed, 2 connections go on until they end"), "{said}");
        // A request that crosses the removal is served: it is told with the response.
        let head = idle.ask(&get("/status/204"))?;
        assert_eq!(header(&head, "connection"), Some("close"), "{head}");
        assert_eq!(idle.rest()?, "", "closed in order");
        let head = busy.head()?;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(header(&head, "connection"), Some("close"), "{head}");
        let refused = connect(&lab, vip).and_then(|mut stream| stream.ask(&get("/")));
        assert!(refused.is_err(), "nothing new is served: {refused:?}");
        echoes(&mut held)?;
        // Another reload of something else changes nothing for it.
        apply(&lab, &format!("{without}\n"))?;
        apply(&lab, &without.replace("2s", "3s"))?;
        echoes(&mut held)?;
        assert_eq!(held.rest()?, "", "ended at its deadline");
        is_forgotten(&lab, &daemon, vip)?;
        apply(&lab, &with)?;
        websocket(&lab, vip)?;
    }
    daemon.when_quiet()?;
    daemon.stop()?;
    drop(servers);
    Ok(())
}

/// The address is announced for the sake of the connections that go on, and no longer.
fn is_forgotten(lab: &Lab, daemon: &Daemon, vip: SocketAddr) -> Result<()> {
    daemon.when_quiet()?;
    poll("the proxy's port is let go of", || {
        let (done, said) = explain(lab, vip)?;
        ensure!(done, "{said}");
        Ok(!said.contains("proxy"))
    })
}

fn explain(lab: &Lab, vip: SocketAddr) -> Result<(bool, String)> {
    let mut lb = std::process::Command::new(lb_tests::lab::process::program("lb")?);
    let client = if vip.is_ipv4() { "192.0.2.9:4000" } else { "[2001:db8:9::9]:4000" };
    lb.args(["explain", "--from", client, "--to", &vip.to_string(), "--config"]);
    let out = lb.arg(lab.directory().join("lb.toml")).output()?;
    let text = [out.stdout, out.stderr].concat();
    Ok((out.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn a_removed_server_keeps_its_websockets_until_its_deadline() -> Result<()> {
    let Scene { lab, daemon, servers, talks } = Scene::up()?;
    drop(talks);
    let vip = vips(WEB)[0];
    let deadline =
        |text: String| text.replacen("name = \"web\"", "name = \"web\"\ndrain_deadline = '4s'", 1);
    apply(&lab, &deadline(Scene::services(&lab, lab.backends.len(), 1, false)))?;
    // In turn: each server has some.
    let mut held: Vec<_> =
        (0..2 * lab.backends.len()).map(|_| websocket(&lab, vip)).collect::<Result<_>>()?;
    apply(&lab, &deadline(Scene::services(&lab, 1, 1, false)))?;
    thread::sleep(Duration::from_secs(1));
    held.iter_mut().try_for_each(echoes)?;
    let mut ended = 0;
    thread::sleep(Duration::from_secs(5));
    for stream in &mut held {
        ended += usize::from(echoes(stream).is_err());
    }
    let of_one_server = held.len() / lab.backends.len();
    assert!(ended >= of_one_server && ended < held.len(), "{ended} of {}", held.len());
    drop(held);
    daemon.when_quiet()?;
    daemon.stop()?;
    drop(servers);
    Ok(())
}
