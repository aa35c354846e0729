//! The file and the API beside each other.

use std::fs;

use anyhow::Result;
use lb_tests::{actors::servers, daemon::config::service};
use serde_json::json;

use crate::scene::{ECHO, Scene, WEB};

/// haproxytech/dataplaneapi#212: the file of the user was written, and configuration management
/// wrote it back for ever.
#[test]
fn the_file_is_never_written_and_its_objects_never_changed() -> Result<()> {
    let scene = Scene::up()?;
    let file = scene.lab.directory().join("lb.toml");
    let text = fs::read_to_string(&file)?;
    let echo = scene.api.get("/v1/services/echo")?.expect(200)?;
    assert_eq!(echo.header("lb-owner"), Some("file"));
    for (method, body) in [("PUT", Some(&echo.body)), ("PATCH", Some(&json!({}))), ("DELETE", None)]
    {
        let refused = scene.api.write(method, "/v1/services/echo", Some(echo.tag()?), body)?;
        let refused = refused.expect(409)?;
        let place = refused.body["violations"][0]["conflicts_with"].as_str().unwrap_or_default();
        assert!(place.contains("lb.toml:"), "{refused:?}");
    }
    let same_place = scene.api.put("/v1/services/mine", None, &scene.web(ECHO))?.expect(409)?;
    let place = same_place.body["violations"][0]["conflicts_with"].as_str().unwrap_or_default();
    assert!(place.contains("lb.toml:"), "{same_place:?}");
    assert_eq!(fs::read_to_string(&file)?, text);
    scene.close()
}

/// traefik/traefik#3617: without one provider another one's services were gone.
#[test]
fn a_reload_keeps_the_api_s_objects_and_the_api_the_file_s() -> Result<()> {
    let scene = Scene::up()?;
    scene.api.put("/v1/services/web", None, &scene.web(WEB))?.expect(201)?;
    assert_eq!(scene.reload()?, "nothing changes\n");
    Scene::write(&scene.lab, &extra(&scene, 9100))?;
    scene.api.put("/v1/services/other", None, &scene.web(81))?.expect(201)?;
    assert_eq!(scene.running()?, ["echo", "other", "web"], "a write does not read the file");
    assert!(scene.reload()?.starts_with("extra: added"));
    assert_eq!(scene.running()?, ["echo", "extra", "other", "web"]);
    assert!(scene.answers(WEB)? && scene.answers(81)?);
    scene.close()
}

#[test]
fn the_file_wins_and_what_it_shadows_comes_back() -> Result<()> {
    let scene = Scene::up()?;
    let made = scene.api.put("/v1/services/extra", None, &scene.web(WEB))?.expect(201)?;
    assert!(scene.answers(WEB)?);
    Scene::write(&scene.lab, &extra(&scene, 9100))?;
    let said = scene.reload()?;
    assert!(said.contains("services/extra of the API waits"), "{said}");
    assert!(!scene.answers(WEB)?);
    let list = scene.api.get("/v1/services")?.body;
    let states: Vec<_> = list["items"].as_array().into_iter().flatten().collect();
    let states = states.iter().map(|it| (&it["name"], &it["owner"], &it["state"]));
    let expected = [
        (&json!("echo"), &json!("file"), &json!("active")),
        (&json!("extra"), &json!("file"), &json!("active")),
        (&json!("extra"), &json!("api"), &json!("shadowed")),
    ];
    assert_eq!(states.collect::<Vec<_>>(), expected);
    scene.api.put("/v1/services/extra", Some(made.tag()?), &scene.web(82))?.expect(409)?;
    Scene::write(&scene.lab, "")?;
    scene.reload()?;
    assert!(scene.answers(WEB)?);
    assert_eq!(scene.api.get("/v1/services/extra")?.tag()?, made.tag()?);
    scene.close()
}

fn extra(scene: &Scene, port: u16) -> String {
    let echo = servers::addresses(&scene.lab, servers::TCP);
    service("extra", "tcp", &format!("port = {port}"), &echo)
}
