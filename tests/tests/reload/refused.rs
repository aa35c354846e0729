//! What is wrong is refused whole, and what runs stays.

use std::fs;

use anyhow::Result;
use lb_tests::{daemon::process::reload, lab::topology::vips};
use nix::sys::signal::Signal;

use crate::scene::{ECHO, Scene};

#[test]
fn a_wrong_file_changes_nothing_and_is_read_again_once_it_is_right() -> Result<()> {
    let mut scene = Scene::up()?;
    let file = scene.lab.directory().join("lb.toml");
    let good = fs::read_to_string(&file)?;
    let before = scene.daemon.status()?;
    for (text, words) in [
        (good.replace("handlers = [\"http\"]", "handlers = [\"htp\"]"), "lb.toml:"),
        (good.replace("[node]", "[node"), "lb.toml:"),
        (good.replace("[node]", "[node]\nmax_flows = 4096"), "cannot change [node] max_flows"),
        (good.replace("interfaces = [", "interfaces = [\"nosuch0\"]\n#"), "nosuch0"),
        (good.clone() + "[[certificates]]\ncert = \"no.crt\"\nkey = \"no.key\"\n", "no.crt"),
    ] {
        fs::write(&file, text)?;
        let (done, said) = reload(&scene.lab, &[])?;
        assert!(!done && said.contains(words), "{said}");
        let after = scene.daemon.status()?;
        let names = |status: &lb_tests::daemon::status::Status| -> Vec<String> {
            status.services.iter().map(|service| service.name.clone()).collect()
        };
        assert_eq!(names(&before), names(&after));
        scene.talks.iter_mut().try_for_each(lb_tests::actors::talk::Talk::echo)?;
    }
    fs::remove_file(&file)?;
    let (done, said) = reload(&scene.lab, &[])?;
    assert!(!done, "{said}");
    Scene::configure(&scene.lab, 1, 0, false)?;
    scene.daemon.signal(Signal::SIGHUP)?;
    scene.daemon.when("SIGHUP is obeyed", |status| {
        let web = status.service("web");
        web.is_some_and(|web| web.backends.iter().filter(|it| !it.removed).count() == 2)
    })?;
    scene.lab.client.within(|| lb_tests::actors::client::tcp_echo(vips(ECHO)[0], "hello"))??;
    scene.close()
}
