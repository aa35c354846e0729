//! What a port says in responses beside what its servers said.

use tokio::io::AsyncWriteExt as _;

use crate::proxy::tests::actors::{
    backend,
    client::{Raw, Reply},
    lab::{Lab, Plan, Start},
};
use crate::service::HttpOptions;

async fn ask(lab: &Lab) -> Reply {
    let mut client = Raw::connect(lab.address).await;
    client.get("/", "").await
}

async fn bare() -> backend::Listening {
    backend::raw(|mut stream, _| async move {
        while !backend::read_head(&mut stream).await.is_empty() {
            let reply = "HTTP/1.1 200 OK\r\nServer: x\r\nX-A: 1\r\nX-A: 2\r\nX-B: 3\r\n\
                Content-Length: 2\r\n\r\nok";
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    })
    .await
}

fn plan(backend: &backend::Listening, http: HttpOptions) -> Plan {
    Plan { http, ..Plan::http(&[backend.address]) }
}

#[tokio::test]
async fn headers_are_set_and_removed() {
    let backend = bare().await;
    let response_headers = vec![
        ("server".into(), vec![]),
        ("x-a".into(), vec!["only".into()]),
        ("x-new".into(), vec!["one".into(), "two".into()]),
    ];
    let lab =
        Start::new(plan(&backend, HttpOptions { response_headers, ..HttpOptions::default() }));
    let lab = lab.start();
    let reply = ask(&lab).await;
    let all = |name: &str| {
        let lines = reply.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| *key == name).map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(all("server"), [""; 0]);
    assert_eq!(all("x-a"), ["only"]);
    assert_eq!(all("x-b"), ["3"]);
    assert_eq!(all("x-new"), ["one", "two"]);
    assert_eq!(reply.body, "ok");
    assert!(reply.header("date").is_some());
    lab.finish().await;
}

#[tokio::test]
async fn a_pristine_response_is_the_servers_alone_and_its_neighbours_are_not() {
    let backend = bare().await;
    let pristine = HttpOptions { pristine: true, ..HttpOptions::default() };
    let mut start = Start::new(plan(&backend, pristine));
    start.plans[0].hostnames = vec!["app.example.com".into()];
    start.plans.push(plan(&backend, HttpOptions::default()));
    let lab = start.start();
    let reply = ask(&lab).await;
    let names: Vec<_> = reply.head.lines().filter_map(|line| line.split_once(": ")).collect();
    let expected =
        [("server", "x"), ("x-a", "1"), ("x-a", "2"), ("x-b", "3"), ("content-length", "2")];
    assert_eq!(names, expected, "no date");
    let mut client = Raw::connect(lab.address).await;
    client.send("GET / HTTP/1.1\r\nHost: other\r\n\r\n").await;
    let date = client.reply().await.header("date").map(str::to_owned).unwrap();
    assert!(date.ends_with(" gmt"), "{date}");
    lab.finish().await;
}
