//! What is no request, or one that readers may understand differently: wherever it stands, the
//! client is told why.

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use tokio::net::TcpStream;

use super::{
    backend,
    client::{self, Raw, http2},
    lab::{Lab, Plan, Start},
};

/// Requests with nothing wrong, and bodies that look like header sections.
const SOUND: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\n\n\n\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
     3;a=b\r\n\n\n\n\r\n04\r\nX:\n\n\r\n0\r\nX: y\r\n\r\n",
];

const UNSOUND: &[(&str, &str, &str)] = &[
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n", "400", "bare-line-feed"),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
        "two-framings",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "400",
        "two-framings",
    ),
    ("GET / HTTP/1.1\r\nX: y\r\n\r\n", "400", "bad-host"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "400", "bad-header"),
    ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", "400", "bad-version"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "400", "bad-content-length"),
];

#[tokio::test]
async fn what_is_pipelined_is_judged_like_the_first() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    for (index, first) in SOUND.iter().enumerate() {
        let second = SOUND[(index + 1) % SOUND.len()];
        for (request, status, word) in UNSOUND {
            for ahead in [vec![], vec![*first], vec![*first, second]] {
                let text = [&ahead.concat(), *request, SOUND[0]].concat();
                let mut client = Raw::connect(lab.address).await;
                client.send(&text).await;
                for sound in &ahead {
                    assert_eq!(client.reply().await.status(), "200", "{sound:?} of {text:?}");
                }
                let reply = client.reply().await;
                assert_eq!(reply.status(), *status, "{text:?}: {reply:?}");
                assert_eq!(reply.header("fly-error"), Some(*word), "{text:?}");
                assert_eq!(reply.header("connection"), Some("close"), "{text:?}");
                assert!(client.rest().await.is_empty(), "{text:?} has one answer more");
            }
        }
    }
    lab.finish().await;
}

#[tokio::test]
async fn a_pipelined_header_section_has_its_time_as_well() {
    let backend = backend::echo().await;
    let mut start = Start::new(Plan::http(&[backend.address]));
    start.settings.header_timeout = Duration::from_millis(50);
    let lab = start.start();
    let mut client = Raw::connect(lab.address).await;
    client.send([SOUND[1], "GET / HT"].concat()).await;
    assert_eq!(client.reply().await.status(), "200");
    let reply = client.reply().await;
    assert_eq!((reply.status(), reply.header("fly-error")), ("408", Some("slow-header")));
    lab.finish().await;
}

#[tokio::test]
async fn a_target_may_be_too_long_for_a_header_section_that_is_not() {
    let backend = backend::echo().await;
    let mut start = Start::new(Plan::http(&[backend.address]));
    start.settings.max_header_size = 256 * 1024;
    let lab = start.start();
    let mut client = Raw::connect(lab.address).await;
    let reply = client.get(&format!("/{}", "x".repeat(70_000)), "").await;
    assert_eq!((reply.status(), reply.header("fly-error")), ("414", Some("target-too-long")));
    assert!(client.rest().await.is_empty());
    lab.finish().await;
}

#[tokio::test]
async fn a_header_section_over_http2_may_be_too_large() {
    let backend = backend::echo().await;
    let mut start = Start::new(Plan::http(&[backend.address]));
    start.settings.max_header_size = 8 * 1024;
    let lab = start.start();
    let mut sender = http2(TcpStream::connect(lab.address).await.unwrap()).await;
    // 32 bytes are counted for each line beside its own.
    for (length, status, word) in [(60, 200, None), (70, 431, Some("header-too-large"))] {
        let mut request = client::request("/", Empty::<Bytes>::new());
        for line in 0..80 {
            let name = format!("x-{line:03}").parse::<hyper::header::HeaderName>().unwrap();
            request.headers_mut().insert(name, "y".repeat(length).parse().unwrap());
        }
        let response = sender.send_request(request).await.unwrap();
        let said = response.headers().get("fly-error").map(|word| word.to_str().unwrap());
        assert_eq!((response.status().as_u16(), said), (status, word));
    }
    lab.finish().await;
}
