use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
    response::Response,
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::{Context, Peer, routes};
use crate::{
    admin::{
        AdminRequest, ChangeReply, DrainReply, EventFeed, FlowList, ReloadReply, SocketAccess,
    },
    objects::{ChangeRefusal, Kind, Listed, Listing, ObjectState, Owner, RefusalKind},
    settings::Admin,
};

const ROOT: Peer = Peer { uid: 0, gid: 0, pid: None };

/// Answers every request in one way.
async fn event_loop(mut requests: mpsc::Receiver<AdminRequest>) {
    while let Some(request) = requests.recv().await {
        match request {
            AdminRequest::Change(asked) => {
                let refusal = ChangeRefusal::new(RefusalKind::Stale, "has changed");
                let reply = ChangeReply {
                    revision: 8,
                    changes: vec!["web: added".to_owned()],
                    warnings: Vec::new(),
                    revisions: vec![Some(8)],
                };
                let stale = asked.request.operations.iter().any(|it| it.id.name == "stale");
                let _ = asked.reply.send(if stale { Err(refusal) } else { Ok(reply) });
            }
            AdminRequest::Reload(asked) => drop(asked.reply.send(Ok(ReloadReply::default()))),
            AdminRequest::Upgrade(asked) => drop(asked.reply.send(Err("no binary".into()))),
            AdminRequest::Drain(asked) => drop(asked.reply.send(Ok(DrainReply::default()))),
            AdminRequest::Flows(asked) => drop(asked.reply.send(Ok(FlowList::default()))),
            AdminRequest::Explain(asked) => drop(asked.reply.send(Err("no interface".into()))),
            AdminRequest::Trace(asked) => drop(asked.reply.send(Ok(mpsc::channel(1).1))),
        }
    }
}

fn context() -> Context {
    let (sender, requests) = mpsc::channel(1);
    tokio::spawn(event_loop(requests));
    let mut listing = Listing::at(7);
    let Value::Object(object) = json!({"name": "web"}) else { panic!() };
    listing.add(
        Kind::Services,
        Listed {
            name: "web".into(),
            owner: Owner::Api,
            revision: 7,
            state: ObjectState::Active,
            because: None,
            place: None,
            object,
        },
    );
    let listing = Arc::new(arc_swap::ArcSwap::from_pointee(listing));
    let admin = Admin {
        listen: "/run/lb/admin.sock".into(),
        mode: 0o660,
        owner: Some("1000".into()),
        group: Some("root".into()),
    };
    let access = SocketAccess::of(&admin).expect("every host has a group root");
    let access = Arc::new(arc_swap::ArcSwap::from_pointee(access));
    let status = || Err(anyhow::anyhow!("no counters"));
    Context::new(status, sender, listing, EventFeed::default(), access)
}

async fn ask(context: &Context, request: Request<Body>, peer: Option<Peer>) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Some(peer) = peer {
        parts.extensions.insert(peer);
    }
    let (router, _) = routes(context.clone());
    router.oneshot(Request::from_parts(parts, body)).await.expect("infallible")
}

fn request(method: &str, path: &str, body: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).expect("valid")
}

/// A body that each route can read.
fn sample(path: &str) -> &'static str {
    match path {
        "/v1/drain" => r#"{"service": "web", "server": "10.0.0.1:80"}"#,
        "/v1/flows" => r#"{"limit": 1}"#,
        "/v1/explain" => {
            r#"{"from": "10.0.0.1:1", "to": "10.0.0.2:2", "protocol": "tcp", "flags": 2, "size": 0}"#
        }
        "/v1/orders/web/10.0.0.1:80" => r#"{"weight": 3, "ttl_ms": 5}"#,
        "/v1/changes" => r#"{"operations": []}"#,
        _ => "{}",
    }
}

/// Every route of the document answers, with a code and a type that the document has for it.
#[tokio::test]
async fn the_document_says_what_the_routes_do() {
    let context = context();
    let (_, document) = routes(context.clone());
    let document = serde_json::to_value(&document).expect("JSON");
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let paths = document["paths"].as_object().expect("paths");
    let mut walked = 0;
    for (path, methods) in paths {
        let real =
            path.replace("{kind}", "services").replace("{service}/{server}", "web/10.0.0.1:80");
        for (method, operation) in methods.as_object().expect("methods") {
            for name in ["web", "stale", "missing"] {
                let real = real.replace("{name}", name);
                let asked = request(&method.to_uppercase(), &real, sample(&real));
                let answer = ask(&context, asked, Some(ROOT)).await;
                check_documented(&operation["responses"], &answer, &format!("{method} {real}"));
                walked += 1;
            }
            let garbled = request(&method.to_uppercase(), &real.replace("{name}", "web"), "{");
            let answer = ask(&context, garbled, Some(ROOT)).await;
            check_documented(&operation["responses"], &answer, &format!("garbled {method} {real}"));
        }
    }
    assert!(walked >= 13 * 3, "{walked}");
}

fn check_documented(responses: &Value, answer: &Response, what: &str) {
    let code = answer.status();
    assert!(code != StatusCode::METHOD_NOT_ALLOWED, "{what}");
    let range = format!("{}XX", code.as_u16() / 100);
    let documented = [code.as_str(), &*range].into_iter().find_map(|key| responses.get(key));
    let documented = documented.unwrap_or_else(|| panic!("{what}: {code} is not documented"));
    if let Some(kind) = answer.headers().get(header::CONTENT_TYPE) {
        let kind = kind.to_str().expect("text");
        assert!(documented["content"].get(kind).is_some(), "{what}: {code} with {kind}");
    }
}

#[tokio::test]
async fn what_is_unknown_is_a_problem() {
    let context = context();
    for (method, path, code) in
        [("GET", "/v2", 404), ("POST", "/v1/status", 405), ("GET", "/v1/things", 404)]
    {
        let answer = ask(&context, request(method, path, ""), Some(ROOT)).await;
        assert_eq!(answer.status().as_u16(), code);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}

/// traefik/traefik#5785: who may not write was told that there is no such path.
#[tokio::test]
async fn who_may_only_read_is_told_so() {
    let context = context();
    let peer = |uid, gid| Some(Peer { uid, gid, pid: Some(1) });
    let code = async |method, path, peer| {
        ask(&context, request(method, path, sample(path)), peer).await.status().as_u16()
    };
    for writer in [peer(0, 0), peer(1000, 7), peer(7, 0)] {
        assert_eq!(code("PUT", "/v1/services/new", writer).await, 201);
    }
    let reader = peer(7, 7);
    for path in ["/v1/services/web", "/v1/changes", "/v1/drain", "/v1/reload"] {
        let method = match path {
            "/v1/services/web" => "DELETE",
            "/v1/drain" => "PUT",
            _ => "POST",
        };
        assert_eq!(code(method, path, reader).await, 403, "{path}");
    }
    assert_eq!(code("GET", "/v1/services/web", reader).await, 200);
    assert_eq!(code("POST", "/v1/flows", reader).await, 200);
    assert_eq!(code("GET", "/v1/services/web", None).await, 403);
}

#[tokio::test]
async fn conditions_are_read() {
    let context = context();
    let code = async |method: &str, name: &str, value: &str| {
        let mut asked = request(method, "/v1/services/web", "{}");
        let name = header::HeaderName::try_from(name).expect("a name");
        asked.headers_mut().insert(name, value.parse().expect("a value"));
        ask(&context, asked, Some(ROOT)).await.status().as_u16()
    };
    for seen in ["\"7\"", "W/\"7\"", "\"1\", \"7\"", "*"] {
        assert_eq!(code("GET", "if-none-match", seen).await, 304, "{seen}");
    }
    assert_eq!(code("GET", "if-none-match", "\"6\"").await, 200);
    assert_eq!(code("PUT", "if-match", "\"1\", \"7\"").await, 200);
    assert_eq!(code("PUT", "if-none-match", "\"7\"").await, 400);
    assert_eq!(code("PUT", "content-type", "text/html").await, 415);
}

/// A body is read no further than it may be, and its client is told.
#[tokio::test]
async fn a_body_is_bounded() {
    let context = context();
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(17 << 20));
    let answer = ask(&context, request("PUT", "/v1/services/web", &large), Some(ROOT)).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let deep = "[".repeat(100_000);
    let answer = ask(&context, request("PUT", "/v1/services/web", &deep), Some(ROOT)).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn clients_without_end_leave_room_for_others() {
    let context = context();
    let mut open = Vec::new();
    loop {
        let answer = ask(&context, request("GET", "/v1/events", ""), Some(ROOT)).await;
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        open.push(answer);
        assert!(open.len() < 32, "all connections");
    }
    context.events.tell(crate::admin::Event::Missed { count: 3 });
    let frame = open.pop().expect("one").into_body().frame().await.expect("a frame");
    let text = frame.expect("no error").into_data().expect("data");
    assert_eq!(text, "data: {\"event\":\"missed\",\"count\":3}\n\n");
    let answer = ask(&context, request("GET", "/v1/events", ""), Some(ROOT)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let other = Request::builder().method(Method::GET).uri("/v1/services").body(Body::empty());
    let answer = ask(&context, other.expect("valid"), Some(ROOT)).await;
    assert_eq!(answer.status(), StatusCode::OK);
}
