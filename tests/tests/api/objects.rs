//! Objects of the API: made, changed, removed.

use anyhow::Result;
use serde_json::json;

use crate::scene::{Scene, WEB};

#[test]
fn a_service_is_made_changed_and_removed_while_it_serves() -> Result<()> {
    let scene = Scene::up()?;
    let api = &scene.api;
    assert!(!scene.answers(WEB)?);
    let made = api.put("/v1/services/web", None, &scene.web(WEB))?.expect(201)?;
    assert!(made.body["changes"][0].as_str().is_some_and(|it| it.starts_with("web: added")));
    assert!(scene.answers(WEB)?);

    // haproxytech/dataplaneapi#43: after a change the old version was returned.
    let got = api.get("/v1/services/web")?.expect(200)?;
    assert_eq!((got.tag()?, got.header("lb-owner")), (made.tag()?, Some("api")));
    assert_eq!(got.body["ports"], scene.web(WEB)["ports"]);
    let unchanged = api.put("/v1/services/web", Some(got.tag()?), &got.body)?.expect(200)?;
    assert_eq!((unchanged.tag()?, &unchanged.body["changes"]), (got.tag()?, &json!([])));
    let seen = [("if-none-match", got.tag()?)];
    api.ask("GET", "/v1/services/web", &seen, None)?.expect(304)?;

    let patch = json!({"load_balancer": {"strategy": "wrr"}, "queue": {"length": 7}});
    let dry = "/v1/services/web?dry_run=true";
    let would = api.write("PATCH", dry, Some(got.tag()?), Some(&patch))?.expect(200)?;
    assert_eq!(would.body["changes"], json!(["web: strategy wrr instead of p2c; queue changed"]));
    assert_eq!(api.get("/v1/services/web")?.tag()?, got.tag()?);
    let patched = api.write("PATCH", "/v1/services/web", Some(got.tag()?), Some(&patch))?;
    let patched = patched.expect(200)?;
    assert_eq!(patched.body["changes"], would.body["changes"]);
    let now = api.get("/v1/services/web")?;
    assert_eq!(now.body["load_balancer"]["servers"], got.body["load_balancer"]["servers"]);

    api.write("DELETE", "/v1/services/web", Some(got.tag()?), None)?.expect(412)?;
    api.write("DELETE", "/v1/services/web", Some(patched.tag()?), None)?.expect(200)?;
    api.get("/v1/services/web")?.expect(404)?;
    assert!(!scene.answers(WEB)?);
    assert!(scene.daemon.log().contains("uid=0"), "who did it is in the log");
    scene.close()
}

/// haproxytech/dataplaneapi#22: several changes of one version were said to have succeeded, and one
/// had been done.
#[test]
fn of_many_changes_of_one_revision_one_is_done() -> Result<()> {
    let scene = Scene::up()?;
    let api = &scene.api;
    let made = api.put("/v1/services/web", None, &scene.web(WEB))?.expect(201)?;
    let codes: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=8)
            .map(|number| {
                let patch = json!({"queue": {"length": number}});
                let tag = made.tag();
                scope
                    .spawn(move || api.write("PATCH", "/v1/services/web", Some(tag?), Some(&patch)))
            })
            .collect();
        let answers = threads.into_iter().map(|it| it.join().expect("no panic"));
        answers.map(|answer| Ok(answer?.code)).collect::<Result<_>>()
    })?;
    assert_eq!(codes.iter().filter(|&&code| code == 200).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|&&code| code == 412).count(), 7, "{codes:?}");
    scene.close()
}

/// haproxytech/dataplaneapi#119, #165, #248: the reason was `14: err transactionId=…`.
#[test]
fn every_mistake_is_named_with_its_place() -> Result<()> {
    let scene = Scene::up()?;
    let api = &scene.api;
    let mut wrong = scene.web(WEB);
    wrong["ports"][0]["handlers"][0] = json!("htp");
    wrong["addresses"] = json!(["203.0.113.999"]);
    wrong["hostname"] = json!(["a.example"]);
    let refused = api.put("/v1/services/web", None, &wrong)?.expect(422)?;
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(refused.pointers(), ["/addresses/0", "/hostname", "/ports/0/handlers/0"]);
    let help: Vec<_> =
        (0..3).map(|number| refused.body["violations"][number]["help"].as_str()).collect();
    assert!(help.iter().all(Option::is_some), "{refused:?}");
    assert_eq!(scene.running()?, ["echo"]);

    let operations = json!({"operations": [
        {"op": "create", "kind": "services", "name": "web", "body": scene.web(WEB)},
        {"op": "create", "kind": "services", "name": "two", "body": {"pool": "gone", "ports": [{"port": 1}],
            "addresses": ["203.0.113.9"]}},
    ]});
    let refused = api.ask("POST", "/v1/changes", &[], Some(&operations))?.expect(422)?;
    assert_eq!(refused.pointers(), ["/operations/1/body/pool"]);
    assert_eq!(scene.running()?, ["echo"], "all or nothing");

    for (method, path, body, code) in [
        ("PUT", "/v1/services/web", None, 400),
        ("PUT", "/v1/nothing/web", Some(json!({})), 404),
        ("PATCH", "/v1/services/web", Some(json!({})), 404),
        ("POST", "/v1/services/web", Some(json!({})), 405),
        ("POST", "/v1/changes", Some(json!({"operations": 1})), 400),
        ("DELETE", "/v1/services/web", None, 404),
    ] {
        let answer = api.ask(method, path, &[], body.as_ref())?.expect(code)?;
        assert!(answer.body["detail"].is_string(), "{answer:?}");
    }
    scene.close()
}

#[test]
fn several_operations_are_one_revision() -> Result<()> {
    let scene = Scene::up()?;
    let api = &scene.api;
    let mut web = scene.web(WEB);
    let pool = web["load_balancer"].take();
    web["pool"] = json!("app");
    let operations = json!({"operations": [
        {"op": "create", "kind": "services", "name": "web", "body": web},
        {"op": "create", "kind": "pools", "name": "app", "body": pool},
    ]});
    let done = api.ask("POST", "/v1/changes", &[], Some(&operations))?.expect(200)?;
    assert!(scene.answers(WEB)?);
    let (service, pool) = (api.get("/v1/services/web")?, api.get("/v1/pools/app")?);
    let revision = format!("\"{}\"", done.body["revision"]);
    assert_eq!((service.tag()?, pool.tag()?), (revision.as_str(), revision.as_str()));
    let used = api.write("DELETE", "/v1/pools/app", Some(pool.tag()?), None)?.expect(422)?;
    assert!(used.body["violations"][0]["at"] == json!("api: services/web /pool"), "{used:?}");
    scene.close()
}
