//! Requests that ask for a place, and answers that send them to another.

use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{Request, Response, body::Frame};

use crate::proxy::tests::actors::{
    backend::{self, Body, Listening, full},
    client::{self, A_MOMENT, Raw, Reply},
    lab::{Lab, Plan, Start},
};
use crate::settings::Geography;

const PREFERRED: &str = "fly-preferred-instance-unavailable";

/// Sends a request on its first visit where its `x-replay` says, and otherwise answers with its
/// name, the headers about replays, and the body.
async fn server(name: &'static str) -> Listening {
    backend::http(move |request| async move { answer(name, request).await }).await
}

async fn answer(name: &str, request: Request<hyper::body::Incoming>) -> Response<Body> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let is_first = header("fly-replay-src").is_none() && header("fly-replay-failed").is_none();
    let always = header("x-always").is_some();
    if let Some(directions) = header("x-replay").filter(|_| is_first || always) {
        // Some answer before they have read all of the body, and close.
        if request.uri().path() != "/unread" {
            let _ = request.into_body().collect().await;
        }
        let response = Response::builder().header("fly-replay", directions);
        return response.body(full("never seen")).unwrap();
    }
    let told = ["fly-replay-src", "fly_replay_src", "fly-replay-failed", PREFERRED];
    let told = told.map(|name| format!("{name}: {}", header(name).unwrap_or_default()));
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    let body = String::from_utf8(body.unwrap_or_default().to_vec()).unwrap();
    Response::new(full(format!("{name}\n{}\n{body}", told.join("\n"))))
}

struct World {
    lab: Lab,
    _servers: Vec<Listening>,
}

/// `web` in fra (m-1) and ams (m-2), and a service `service-1` in ord (m-3).
async fn world() -> World {
    let servers = vec![server("one").await, server("two").await, server("three").await];
    world_of(servers, false)
}

async fn world_of_http2() -> World {
    let server = |name| backend::h2c(move |request| async move { answer(name, request).await });
    let servers = vec![server("one").await, server("two").await, server("three").await];
    world_of(servers, true)
}

fn world_of(servers: Vec<Listening>, h2_backend: bool) -> World {
    let mut plans = vec![
        Plan::http(&[servers[0].address, servers[1].address]),
        Plan::http(&[servers[2].address]),
    ];
    plans[0].places = vec![("fra", "m-1"), ("ams", "m-2")];
    plans[0].hostnames = vec!["app.example.com".into()];
    plans[1].places = vec![("ord", "m-3")];
    plans[1].hostnames = vec!["other.example.com".into()];
    for plan in &mut plans {
        plan.http.h2_backend = h2_backend;
    }
    let mut start = Start::new(plans[0].clone());
    start.plans = plans;
    start.settings.max_replay_body = 100_000;
    start.geography = Geography { local: Some("fra".into()), ..Geography::default() };
    World { lab: start.start(), _servers: servers }
}

impl World {
    async fn get(&self, headers: &str) -> Reply {
        Raw::connect(self.lab.address).await.get("/", headers).await
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> Reply {
        let mut client = Raw::connect(self.lab.address).await;
        let length = body.len();
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: {length}\r\n\
                 {headers}\r\n{body}"
            ))
            .await;
        client.reply().await
    }
}

fn told<'r>(reply: &'r Reply, name: &str) -> &'r str {
    let mut lines = reply.body.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| *found == name).map_or("", |(_, value)| value)
}

fn who(reply: &Reply) -> &str {
    reply.body.lines().next().unwrap_or_default()
}

#[tokio::test]
async fn a_request_asks_for_a_place() {
    let world = world().await;
    for (headers, name, missed) in [
        ("", "one", ""),
        ("Fly-Prefer-Region: ams\r\n", "two", ""),
        ("Fly-Prefer-Region: mars, ams\r\n", "two", ""),
        ("Fly-Prefer-Region: mars\r\n", "one", ""),
        ("Fly-Prefer-Instance-Id: m-2\r\n", "two", ""),
        ("Fly-Prefer-Instance-Id: m-9\r\n", "one", "m-9"),
        ("Fly-Force-Instance-Id: m-2\r\n", "two", ""),
        ("Fly-Force-Instance-Id: m-2\r\nFly-Prefer-Instance-Id: m-1\r\n", "two", ""),
        ("Fly-Preferred-Instance-Unavailable: m-1\r\n", "one", ""),
    ] {
        let reply = world.get(headers).await;
        assert_eq!(who(&reply), name, "{headers}");
        assert_eq!(told(&reply, "fly-preferred-instance-unavailable"), missed, "{headers}");
    }
    let reply = world.get("Fly-Force-Instance-Id: m-9\r\n").await;
    assert_eq!((reply.status(), reply.header("fly-error")), ("503", Some("no-backend-there")));
    world.lab.finish().await;
}

#[tokio::test]
async fn an_answer_sends_the_request_elsewhere() {
    let world = world().await;
    for (directions, name) in [
        ("region=ams", "two"),
        ("region=\"mars,any\"", "one"),
        ("instance=m-2", "two"),
        ("prefer_instance=m-2", "two"),
        ("prefer_instance=m-9", "one"),
        ("elsewhere=true", "two"),
        ("app=service-1", "three"),
        ("app=service-1;region=ord;timeout=10s;fallback=force_self", "three"),
    ] {
        let directions = format!("{directions};state=\"s=1;2\"");
        let reply = world.get(&format!("X-Replay: {directions}\r\n")).await;
        assert_eq!((reply.status(), who(&reply)), ("200", name), "{directions}");
        let source = told(&reply, "fly-replay-src");
        let (place, rest) = source.split_once(";t=").unwrap();
        let (time, state) = rest.split_once(';').unwrap();
        assert_eq!((place, state), ("instance=m-1;region=fra", "state=s=1;2"));
        assert!(time.parse::<u64>().unwrap() > 1_600_000_000_000_000, "in microseconds: {time}");
        assert_eq!(told(&reply, "fly-replay-failed"), "");
        assert_eq!(reply.header("fly-replay"), None);
    }
    // Only we say where a request comes from.
    let forged = "Fly-Replay-Src: m-7\r\nFly_Replay_Src: m-7\r\nFly-Replay-Failed: x\r\n";
    let forged = world.get(forged).await;
    assert!(!forged.body.contains("m-7"), "{}", forged.body);
    assert_eq!((told(&forged, "fly-replay-src"), told(&forged, "fly-replay-failed")), ("", ""));
    world.lab.finish().await;
}

#[tokio::test]
async fn directions_that_lead_nowhere_may_have_a_fallback() {
    let world = world().await;
    for (directions, status, error) in [
        ("region=mars", "503", "no-backend-there"),
        ("instance=m-9", "503", "no-backend-there"),
        ("app=nobody", "502", "replay-nowhere"),
        ("app=nobody;timeout=1s", "502", "replay-nowhere"),
        ("planet=mars", "502", "bad-replay"),
        ("region=mars;fallback=self", "502", "bad-replay"),
    ] {
        let reply = world.get(&format!("X-Replay: {directions}\r\n")).await;
        assert_eq!(
            (reply.status(), reply.header("fly-error")),
            (status, Some(error)),
            "{directions}"
        );
    }
    for (fallback, prefer) in [("force_self", ""), ("prefer_self", "")] {
        let headers =
            format!("X-Replay: region=mars;app=service-1;fallback={fallback}\r\n{prefer}");
        let reply = world.get(&headers).await;
        assert_eq!(who(&reply), "one", "back to who said it");
        let failed = told(&reply, "fly-replay-failed");
        let (known, elapsed) = failed.split_once(";elapsed_ms=").unwrap();
        assert_eq!(known, "app=service-1;region=mars;replay_source=m-1;reason=no_candidate");
        assert!(elapsed.parse::<u64>().is_ok());
        assert_eq!(told(&reply, "fly-replay-src"), "");
    }
    // A fallback must not send it away once more.
    let headers = "X-Always: 1\r\nX-Replay: region=mars;fallback=force_self\r\n";
    assert_eq!(world.get(headers).await.header("fly-error"), Some("replay-loop"));
    world.lab.finish().await;
}

#[tokio::test]
async fn there_is_an_end_to_it() {
    let world = world().await;
    let reply = world.get("X-Always: 1\r\nX-Replay: elsewhere=true\r\n").await;
    assert_eq!((reply.status(), reply.header("fly-error")), ("508", Some("replay-loop")));
    world.lab.finish().await;
}

#[tokio::test]
async fn a_target_that_is_not_reached_in_time_is_given_up() {
    let servers = [server("one").await, server("two").await];
    let mut plan = Plan::http(&[servers[0].address, servers[1].address]);
    plan.places = vec![("fra", "m-1"), ("ams", "m-2")];
    plan.hard_limit = Some(1);
    plan.queue =
        crate::service::Queue { length: 10, timeout: crate::proxy::tests::actors::lab::PATIENCE };
    let mut start = Start::new(plan);
    start.geography = Geography { local: Some("fra".into()), ..Geography::default() };
    let lab = start.start();
    // As others hold it.
    lab.load.correct(lab.services[0].backends[1].slot, 1);
    let mut client = Raw::connect(lab.address).await;
    let headers = "X-Replay: region=ams;timeout=50ms\r\n";
    let reply = client.get("/", headers).await;
    assert_eq!((reply.status(), reply.header("fly-error")), ("504", Some("replay-timeout")));
    let headers = "X-Replay: region=ams;timeout=50ms;fallback=prefer_self\r\n";
    let reply = client.get("/", headers).await;
    assert_eq!(who(&reply), "one");
    assert!(told(&reply, "fly-replay-failed").contains("reason=timeout"), "{}", reply.body);
    lab.load.correct(lab.services[0].backends[1].slot, -1);
    drop(client);
    lab.finish().await;
}

#[tokio::test]
async fn the_body_goes_with_it_unless_it_is_too_large() {
    bodies_go_with_it(world().await).await;
}

#[tokio::test]
async fn between_backends_that_speak_http2_too() {
    bodies_go_with_it(world_of_http2().await).await;
}

async fn bodies_go_with_it(world: World) {
    let directions = "X-Replay: app=service-1\r\n";
    for path in ["/", "/unread"] {
        for length in [1, 10_000, 60_000, 100_000] {
            let body = "0123456789".repeat(length / 10 + 1)[..length].to_owned();
            let reply = world.post(path, directions, &body).await;
            assert_eq!((reply.status(), who(&reply)), ("200", "three"), "{path} {length}");
            assert_eq!(reply.body.lines().last(), Some(&*body), "{path} {length}");
        }
    }
    let large = "x".repeat(100_001);
    let reply = world.post("/", directions, &large).await;
    assert_eq!((reply.status(), reply.header("fly-error")), ("413", Some("replay-too-large")));
    assert_eq!(world.post("/", "", &large).await.status(), "200", "without directions it may be");
    // Twice over: what was kept is kept again.
    let twice = "X-Always: 1\r\nX-Replay: elsewhere=true\r\n";
    for path in ["/", "/unread"] {
        assert_eq!(world.post(path, twice, &large[..60_000]).await.status(), "508", "{path}");
    }
    world.lab.finish().await;
}

#[tokio::test]
async fn a_body_of_unknown_length_goes_with_it_too() {
    let world = world().await;
    let mut client = Raw::connect(world.lab.address).await;
    client
        .send(
            "POST /unread HTTP/1.1\r\nHost: app.example.com\r\nTransfer-Encoding: chunked\r\n\
             X-Replay: app=service-1\r\n\r\n5\r\nhello\r\n",
        )
        .await;
    tokio::time::sleep(A_MOMENT).await;
    client.send("6\r\n world\r\n0\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!((who(&reply), reply.body.lines().last()), ("three", Some("hello world")));

    let stream = tokio::net::TcpStream::connect(world.lab.address).await.unwrap();
    let mut sender = client::http2(stream).await;
    for (count, status) in [(3, 200), (30, 413)] {
        let frames = stream::iter(vec!["y".repeat(5000); count]);
        let frames = frames.map(|text| Ok::<_, std::convert::Infallible>(Frame::data(text.into())));
        let mut request = client::request("/", StreamBody::new(frames));
        request.headers_mut().insert("x-replay", "app=service-1".parse().unwrap());
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), status);
        let body = client::text(response).await;
        assert!(status != 200 || body.ends_with(&"y".repeat(15_000)), "{body}");
    }
    drop((sender, client));
    world.lab.finish().await;
}
