//! Who may open the socket, and who may write.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::Result;
use lb_tests::{
    daemon::process::socket,
    lab::process::{output, poll},
};

use crate::scene::Scene;

/// A user of no group that lb knows.
const NOBODY: &str = "65534";

#[test]
fn the_configuration_says_who_may_do_what() -> Result<()> {
    let scene = Scene::up()?;
    let socket = socket(&scene.lab);
    // What is above the socket keeps nobody out.
    std::fs::set_permissions(scene.lab.directory(), std::fs::Permissions::from_mode(0o755))?;
    let mode = |expected: u32| {
        poll("the socket has its mode", || {
            Ok(std::fs::metadata(&socket)?.permissions().mode() & 0o777 == expected)
        })
    };
    assert_eq!(codes(&socket)?, ["000", "000"], "only root");
    Scene::write_admin(&scene.lab, "mode = \"0666\"")?;
    assert!(scene.reload()?.contains("[admin] mode: changed"));
    mode(0o666)?;
    assert_eq!(codes(&socket)?, ["200", "403"], "everybody may look");
    Scene::write_admin(&scene.lab, &format!("mode = \"0660\"\ngroup = \"{NOBODY}\""))?;
    scene.reload()?;
    mode(0o660)?;
    assert_eq!(codes(&socket)?, ["200", "200"], "the group may write");
    Scene::write_admin(&scene.lab, "owner = \"nosuchuser\"")?;
    let refused = scene.reload().unwrap_err().to_string();
    assert!(refused.contains("there is no user `nosuchuser`"), "{refused}");
    mode(0o660)?;
    scene.close()
}

/// What nobody is answered to a question and to a change. `000`: not let in.
fn codes(socket: &Path) -> Result<[String; 2]> {
    let code = |method: &str, path: &str| {
        let mut curl = Command::new("setpriv");
        curl.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "sh", "-c"]);
        curl.arg(format!(
            "curl --silent --output /dev/null --write-out '%{{http_code}}' --unix-socket {} \
             -X {method} http://lb{path} || true",
            socket.display()
        ));
        output(&mut curl)
    };
    Ok([code("GET", "/v1/services")?, code("POST", "/v1/reload")?])
}
