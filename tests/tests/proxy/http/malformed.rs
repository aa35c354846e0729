//! What no two readers may understand differently is refused, the connection ends, and nothing of
//! what hid in it reaches a backend.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::{
        client::{Stream, header},
        recorder::Recorder,
        servers,
    },
    lab::{
        process::poll,
        stage::{Stage, listed, service},
        topology::{Lab, VIP4, VIP6},
    },
};

use crate::{APP, VIPS, python_client, server};

const RECORDER: u16 = 9002;

/// Port 80 leads to the backend that records, port 81 to an ordinary one.
fn web(lab: &Lab) -> Result<String> {
    let recorder = SocketAddr::new(lab.backends[0].v4.into(), RECORDER);
    let shared = format!("addresses = [\"{VIP4}\", \"{VIP6}\"]");
    Ok(format!(
        r#"[proxy]
max_header_size = 8192
max_request_body = 1000

[[services]]
name = "recorded"
{shared}
ports = [{{ port = 80, handlers = ["http"] }}]
load_balancer.servers = [{}]

[[services]]
name = "web"
{shared}
load_balancer.servers = [{}]

  [[services.ports]]
  port = 81
  handlers = ["http"]
  http_options.response.headers = {{ server = false, x-from = ["one", "two"] }}
"#,
        listed(&[recorder]),
        server(lab, 0, servers::HTTP)
    ))
}

type Row = (String, &'static str, &'static str);

/// What follows the request line and `Host`, the status and the word for the reason.
const HEADERS: &[(&str, &str, &str)] = &[
    // The length said twice, or not as a number.
    ("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "400", "bad-content-length"),
    ("Content-Length: 5, 5\r\n\r\nhello", "400", "bad-content-length"),
    ("Content-Length: 5, 6\r\n\r\nhello", "400", "bad-content-length"),
    ("Content-Length: +5\r\n\r\nhello", "400", "bad-content-length"),
    ("Content-Length: -5\r\n\r\nhello", "400", "bad-content-length"),
    ("Content-Length: 0x5\r\n\r\nhello", "400", "bad-content-length"),
    ("Content-Length: 5 5\r\n\r\nhello", "400", "bad-content-length"),
    ("Content-Length:\r\n\r\n", "400", "bad-content-length"),
    ("Content-Length: 99999999999999999999\r\n\r\n", "400", "bad-content-length"),
    // Two framings.
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", "two-framings"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "400", "two-framings"),
    // Codings that one reader knows and another does not.
    ("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400", "bad-transfer-encoding"),
    ("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "400", "bad-transfer-encoding"),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
        "bad-transfer-encoding",
    ),
    (
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
        "bad-transfer-encoding",
    ),
    ("Transfer-Encoding: identity\r\n\r\n", "400", "bad-transfer-encoding"),
    ("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "400", "bad-transfer-encoding"),
    ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400", "bad-transfer-encoding"),
    ("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "400", "bad-transfer-encoding"),
    ("Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", "400", "bad-transfer-encoding"),
    ("Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n", "400", "bad-header"),
    ("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "400", "bad-header"),
    // Lines that are not what they seem.
    ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400", "bad-header"),
    ("Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", "400", "bad-header"),
    (" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", "bad-header"),
    ("X: a\r\n folded\r\n\r\n", "400", "bad-header"),
    ("X: a\r\n\tfolded\r\n\r\n", "400", "bad-header"),
    ("X: a\u{0}b\r\n\r\n", "400", "bad-header"),
    ("X: a\rb\r\n\r\n", "400", "bad-header"),
    ("X\r\n\r\n", "400", "bad-header"),
    (": x\r\n\r\n", "400", "bad-header"),
    ("X y: z\r\n\r\n", "400", "bad-header"),
    ("X: a\n\r\n", "400", "bare-line-feed"),
    ("X: a\r\n\n", "400", "bare-line-feed"),
    ("X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", "bare-line-feed"),
    ("Host: b\r\n\r\n", "400", "bad-host"),
    // Bodies.
    ("Content-Length: 1001\r\n\r\n", "413", "body-too-large"),
    ("Transfer-Encoding: chunked\r\n\r\nhello\r\n", "400", "bad-body"),
    ("Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", "400", "bad-body"),
    ("Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", "400", "bad-body"),
    ("Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n", "400", "bad-body"),
    ("Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", "400", "bad-body"),
    ("Transfer-Encoding: chunked\r\n\r\n5\rhello\r\n0\r\n\r\n", "400", "bad-body"),
    ("Transfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n", "400", "bad-body"),
    ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", "400", "bad-body"),
    ("Transfer-Encoding: chunked\r\n\r\n1;a\rb\r\nx\r\n0\r\n\r\n", "400", "bad-body"),
    ("Transfer-Encoding: chunked\r\n\r\n1;a\nx\r\n0\r\n\r\n", "400", "bad-body"),
    ("Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nx\r\n", "400", "bad-body"),
];

/// Whole requests.
fn rows() -> Vec<Row> {
    let after_host = |rest: &str| format!("POST /check HTTP/1.1\r\nHost: a\r\n{rest}");
    let rows = HEADERS.iter().map(|&(rest, status, word)| (after_host(rest), status, word));
    let many = after_host(&format!("{}\r\n", "X: y\r\n".repeat(100)));
    let large = after_host(&format!("X: {}\r\n\r\n", "x".repeat(9000)));
    let chunks = format!("3E8\r\n{}\r\n1\r\nx\r\n0\r\n\r\n", "x".repeat(1000));
    let body = after_host(&format!("Transfer-Encoding: chunked\r\n\r\n{chunks}"));
    let own = |text: &str, status, word| (text.to_owned(), status, word);
    rows.chain([
        own("GET / HTTP/1.1\r\n\r\n", "400", "bad-host"),
        own("GET / HTTP/1.1\r\nHost:\r\n\r\n", "400", "bad-host"),
        own("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400", "bad-host"),
        own("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "400", "bad-host"),
        own("GET / HTTP/3.0\r\nHost: a\r\n\r\n", "400", "bad-version"),
        own("GET / HTTP/1.10\r\nHost: a\r\n\r\n", "400", "bad-header"),
        own("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
        own("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
        own("GET / a HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-version"),
        own("GET /\r\nHost: a\r\n\r\n", "400", "bad-target"),
        own("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
        own("PRI * HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
        own("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
        own("G\u{1}T / HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-method"),
        own("GET / HTTP/1.1\nHost: a\n\n", "400", "bare-line-feed"),
        own(
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
            "bad-transfer-encoding",
        ),
        own("\u{16}\u{3}\u{1}\u{2}\r\n\r\n", "400", "bad-method"),
        (many, "431", "header-too-large"),
        (large, "431", "header-too-large"),
        (body, "413", "body-too-large"),
    ])
    .collect()
}

/// Hides behind each request: it must never be answered, for where it begins is what is in doubt.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// `ahead` requests with nothing wrong are pipelined before it.
fn refuse(at: SocketAddr, ahead: usize, (request, status, word): &Row) -> Result<()> {
    const SOUND: &str = "GET /sound HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut stream = Stream::connect(at)?;
    stream.send(&format!("{}{request}{HIDDEN}", SOUND.repeat(ahead)))?;
    for _ in 0..ahead {
        let head = stream.head()?;
        assert!(head.starts_with("HTTP/1.1 200 "), "before {request:?}: {head}");
        stream.take("recorded".len())?;
    }
    let head = stream.head().with_context(|| format!("{request:?}"))?;
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {head}");
    assert_eq!(header(&head, "fly-error"), Some(*word), "{request:?}: {head}");
    assert_eq!(header(&head, "connection"), Some("close"), "{request:?}: {head}");
    let rest = stream.rest()?;
    assert!(!rest.contains("HTTP/1.1 "), "{request:?}: {rest}");
    Ok(())
}

#[test]
fn nothing_is_smuggled_to_a_backend() -> Result<()> {
    let stage = Stage::up(web)?;
    let backend = &stage.lab.backends[0];
    let at = SocketAddr::new(backend.v4.into(), RECORDER);
    let recorder = Recorder::start(&backend.netns, at)?;
    let vip = SocketAddr::new(VIPS[0], 80);
    let rows = rows();
    stage.lab.client.within(|| -> Result<()> {
        for ahead in [0, 2] {
            rows.iter().try_for_each(|row| refuse(vip, ahead, row))?;
        }
        // The same hidden request is found where it may go: the record is no blank page.
        let head = Stream::connect(vip)?.ask("GET /seen HTTP/1.1\r\nHost: a\r\n\r\n")?;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Ok(())
    })??;
    let said = python_client(&stage.lab, "downgrade.py", &[&VIPS[0].to_string()])?;
    poll("the record is complete", || Ok(recorder.text().contains("GET /seen ")))?;
    let record = recorder.text();
    assert!(record.contains("\r\n\r\n"), "{record}");
    assert!(!record.contains("smuggled"), "{record}");
    let mut outcomes = said.lines();
    assert_eq!(outcomes.next(), Some("sound 200"));
    for outcome in outcomes {
        let refused = [" reset", " goaway"].iter().any(|end| outcome.ends_with(end));
        let told = outcome.contains(" 400 bad-") || outcome == "large 431 header-too-large";
        assert!(refused || told, "{outcome}");
    }
    let status = stage.daemon.when_quiet()?;
    assert_eq!(service(&status, "recorded")?.failed, 0, "none of this is the service's failure");
    stage.stop()
}

#[test]
fn responses_carry_what_the_port_says() -> Result<()> {
    let stage = Stage::up(web)?;
    stage.lab.client.within(|| -> Result<()> {
        let mut stream = Stream::connect(SocketAddr::new(VIPS[1], 81))?;
        for _ in 0..2 {
            let head = stream.ask(&format!("HEAD /bytes/5 HTTP/1.1\r\nHost: {APP}\r\n\r\n"))?;
            let values: Vec<_> = head.lines().filter(|line| line.starts_with("x-from: ")).collect();
            assert_eq!(values, ["x-from: one", "x-from: two"], "{head}");
            assert_eq!(header(&head, "server"), None);
        }
        Ok(())
    })??;
    stage.stop()
}
