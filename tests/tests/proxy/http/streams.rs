//! Bodies: large, slow, both ways at once, and the exchanges that are more than one question.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{
        client::{Stream, header},
        content,
        held::{Held, hold},
    },
    lab::{process::poll, stage::Stage, topology::VIP4},
};

use crate::{APP, VIPS, ask, named_services};

const LARGE: usize = 64 << 20;
/// Ways in, and how curl goes them.
const WAYS: [(&str, &str); 3] =
    [("http", "--http1.1"), ("https", "--http1.1"), ("https", "--http2")];

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

fn check(file: &Path) -> Result<()> {
    let bytes = fs::read(file)?;
    ensure!(bytes.len() == LARGE, "{} bytes", bytes.len());
    ensure!(content::is_right(0, &bytes), "wrong content");
    Ok(())
}

#[test]
fn large_bodies_arrive_whole_both_ways() -> Result<()> {
    let stage = Stage::up(named_services)?;
    let large = stage.lab.directory().join("large");
    let back = stage.lab.directory().join("back");
    let mut bytes = vec![0; LARGE];
    content::fill(&mut bytes);
    fs::write(&large, bytes)?;
    for (scheme, version) in WAYS {
        let url = |what: &str| format!("{scheme}://{APP}/{what}");
        let download = [version, "--output", path(&back)?];
        assert_eq!(ask(&stage, VIPS[0], &download, &url(&format!("content/{LARGE}")))?.status, 200);
        check(&back).with_context(|| format!("down by {version}"))?;
        // With a length, and in chunks of which nobody knows how many there are.
        for more in ["X-None:", "Transfer-Encoding: chunked"] {
            if version == "--http2" && more.starts_with('T') {
                continue;
            }
            let upload = [version, "--upload-file", path(&large)?, "--header", more];
            let answer = ask(&stage, VIPS[1], &upload, &url("check"))?;
            assert_eq!(answer.body, LARGE.to_string(), "up by {version} {more}");
        }
        let mirror = [version, "--upload-file", path(&large)?, "--output", path(&back)?];
        assert_eq!(ask(&stage, VIPS[0], &mirror, &url("mirror"))?.status, 200);
        check(&back).with_context(|| format!("up and down at once by {version}"))?;
    }
    let status = stage.daemon.status()?;
    assert_eq!((status.services[0].failed, status.live()), (0, 0));
    stage.stop()
}

#[test]
fn streams_arrive_while_they_are_produced() -> Result<()> {
    let stage = Stage::up(named_services)?;
    // Down: the first line is there, and the rest does not exist yet.
    let to = format!("::{VIP4}:");
    let asks = WAYS.map(|(scheme, version)| {
        (vec![version, "--connect-to", &to], format!("{scheme}://{APP}/hold"))
    });
    let held = hold(&stage.lab, 1, &asks)?;
    stage.release()?;
    held.into_iter().try_for_each(Held::finish)?;
    // Both ways: each line has come back before the next is sent.
    stage.lab.client.within(|| -> Result<()> {
        let mut stream = Stream::connect(SocketAddr::new(VIPS[1], 80))?;
        let chunk = |number: u32| format!("7\r\nline {number}\n\r\n");
        let head =
            format!("POST /mirror HTTP/1.1\r\nHost: {APP}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let head = stream.ask(&(head + &chunk(0)))?;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        for number in 0..5 {
            assert_eq!(stream.take(chunk(number).len())?, chunk(number));
            stream.send(&chunk(number + 1))?;
        }
        assert_eq!(stream.take(chunk(5).len())?, chunk(5));
        stream.send("0\r\n\r\n")?;
        assert_eq!(stream.take(5)?, "0\r\n\r\n");
        Ok(())
    })??;
    stage.stop()
}

#[test]
fn an_upgraded_connection_is_a_tunnel() -> Result<()> {
    let stage = Stage::up(named_services)?;
    for vip in VIPS {
        stage.lab.client.within(|| -> Result<()> {
            let mut stream = Stream::connect(SocketAddr::new(vip, 80))?;
            let head = stream.ask(&format!(
                "GET /upgrade HTTP/1.1\r\nHost: {APP}\r\nConnection: keep-alive, Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly"
            ))?;
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            assert_eq!(header(&head, "upgrade"), Some("websocket"));
            assert_eq!(header(&head, "connection"), Some("upgrade"));
            assert_eq!(stream.take(5)?, "early");
            for text in ["one", "GET / HTTP/1.1\r\n\r\n", "three"] {
                stream.send(text)?;
                assert_eq!(stream.take(text.len())?, text);
            }
            let status = stage.daemon.status()?;
            assert_eq!(status.live(), 1, "a tunnel counts");
            stream.send("last")?;
            stream.finish()?;
            assert_eq!(stream.rest()?, "last");
            Ok(())
        })??;
    }
    poll("the tunnels are counted out", || Ok(stage.daemon.status()?.live() == 0))?;
    stage.stop()
}

#[test]
fn a_client_that_asks_first_is_told_to_continue() -> Result<()> {
    let stage = Stage::up(named_services)?;
    stage.lab.client.within(|| -> Result<()> {
        let mut stream = Stream::connect(SocketAddr::new(VIPS[0], 80))?;
        let ask = |path: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: {APP}\r\nExpect: 100-continue\r\n\
                 Content-Length: 5\r\n\r\n"
            )
        };
        assert_eq!(stream.ask(&ask("/check"))?, "HTTP/1.1 100 Continue\r\n\r\n");
        let head = stream.ask("hello")?;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = header(&head, "content-length").context("a length")?.parse()?;
        stream.take(length)?;
        // A server that reads on while it answers has said so by its status.
        let head = stream.ask(&ask("/mirror"))?;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(header(&head, "content-length"), Some("5"));
        stream.send("hello")?;
        assert_eq!(stream.take(5)?, "hello");
        Ok(())
    })??;
    let file = stage.lab.directory().join("five");
    fs::write(&file, "five\n")?;
    for (scheme, version) in WAYS {
        let upload = [version, "--header", "Expect: 100-continue", "--upload-file", path(&file)?];
        let answer = ask(&stage, VIPS[0], &upload, &format!("{scheme}://{APP}/mirror"))?;
        assert_eq!((answer.status, answer.body.as_str()), (200, "five\n"));
    }
    stage.stop()
}

#[test]
fn head_has_the_header_of_get_and_no_body() -> Result<()> {
    let stage = Stage::up(named_services)?;
    for (scheme, version) in WAYS {
        for vip in VIPS {
            let url = format!("{scheme}://{APP}/bytes/1234");
            let answer = ask(&stage, vip, &[version, "--head"], &url)?;
            assert_eq!(answer.status, 200);
            assert_eq!(header(&answer.body, "content-length"), Some("1234"), "{}", answer.body);
        }
    }
    stage.lab.client.within(|| -> Result<()> {
        let mut stream = Stream::connect(SocketAddr::new(VIPS[0], 80))?;
        for _ in 0..3 {
            // A body would be taken for the next header section.
            let request = format!("HEAD /bytes/1234 HTTP/1.1\r\nHost: {APP}\r\n\r\n");
            assert!(stream.ask(&request)?.starts_with("HTTP/1.1 200 "));
        }
        Ok(())
    })??;
    stage.stop()
}
