//! The same by `lb services` and its like.

use std::process::Command;

use anyhow::Result;
use lb_tests::{actors::servers, daemon::process::socket, lab::process::program};
use serde_json::{Value, json};

use crate::scene::{ECHO, Scene, WEB};

#[test]
fn a_service_is_made_listed_edited_and_removed() -> Result<()> {
    let scene = Scene::up()?;
    let server = servers::addresses(&scene.lab, servers::HTTP)[0].to_string();
    let lb = |line: &str| run(&scene, line);
    let create = format!("services create web --address {} --backend {server}", vip());
    let would = lb(&format!("{create} --port {WEB}/http --dry-run"))?;
    assert!(would.0 == 0 && would.1.starts_with("web: added"), "{would:?}");
    assert!(!scene.answers(WEB)?);
    assert_eq!(lb(&format!("{create} --port {WEB}/http"))?, would);
    assert!(scene.answers(WEB)?);
    assert_eq!(lb(&format!("{create} --port {WEB}/http"))?.0, 4, "it exists already");
    let taken =
        lb(&format!("services create two --address {} --backend {server} --port {ECHO}", vip()))?;
    assert!(taken.0 == 4 && taken.1.contains("lb.toml:"), "{taken:?}");
    let wrong = lb("services create two --address 203.0.113.9 --port 1/http --pool gone")?;
    assert!(wrong.0 == 1 && wrong.1.contains("/pool: there is no pool `gone`"), "{wrong:?}");

    let (_, listed) = lb("services list")?;
    let mut lines = listed.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert!(lines.next().is_some_and(|it| it[0] == "echo" && it[1].contains("lb.toml:")));
    assert_eq!(lines.next().map(|it| it[..3].to_vec()), Some(vec!["web", "api", "active"]));
    let (_, backends) = lb("backends list web")?;
    assert!(backends.contains(&server) && backends.contains("up"), "{backends}");

    let order = format!("backends order web {server}");
    let weighed = lb(&format!("{order} --weight 9"))?;
    assert_eq!(weighed.1, format!("web: backend {server}: weight 9 instead of 1\n"));
    assert_eq!(lb(&format!("{order} --undo"))?.0, 0);
    assert_eq!((lb(&order)?.0, lb(&format!("{order} --undo"))?.0), (2, 3));

    assert_eq!(lb("services edit web --set queue.length=7")?.1, "web: queue changed\n");
    let (_, got) = lb("services get web --json")?;
    assert_eq!(serde_json::from_str::<Value>(&got)?["queue"], json!({"length": 7}));
    assert_eq!(lb("services get nothing")?.0, 3);
    assert_eq!(lb("services delete echo")?.0, 4, "it is the file's");
    assert!(lb("services delete web")?.1.starts_with("web: removed"));
    assert!(!scene.answers(WEB)?);
    scene.close()
}

#[test]
fn pools_and_certificates_are_made_too() -> Result<()> {
    let scene = Scene::up()?;
    let lb = |line: &str| run(&scene, line);
    let server = servers::addresses(&scene.lab, servers::HTTP)[0].to_string();
    assert_eq!(lb(&format!("pools create app --backend {server}"))?.0, 0);
    let web = format!("services create web --address {} --port {WEB}/http --pool app", vip());
    assert_eq!(lb(&web)?.0, 0);
    assert!(scene.answers(WEB)?);
    let used = lb("pools delete app")?;
    assert!(used.0 == 1 && used.1.contains("services/web /pool"), "{used:?}");
    let missing = lb("certs create a --cert /nowhere.crt --key /nowhere.key")?;
    assert!(missing.0 == 1 && missing.1.contains("nowhere.crt"), "{missing:?}");
    assert_eq!(lb("certs list")?, (0, "NAME  OWNER  STATE  CERTIFICATE  KEY\n".to_owned()));
    scene.close()
}

fn vip() -> String {
    lb_tests::lab::topology::VIP4.to_string()
}

/// The exit code, and what was printed.
fn run(scene: &Scene, line: &str) -> Result<(i32, String)> {
    let mut lb = Command::new(program("lb")?);
    lb.args(line.split_whitespace()).arg("--socket").arg(socket(&scene.lab));
    let out = lb.output()?;
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok((out.status.code().unwrap_or(-1), text))
}
