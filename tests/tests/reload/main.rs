//! A changed configuration takes effect while everything goes on.

mod leaks;
mod refused;
mod removed;
mod scene;
mod torture;
mod watched;

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::traffic::{Habit, failures, under},
    daemon::process::reload,
    lab::topology::vips,
};

use scene::{ECHO, Scene, WEB};

/// Server lists, weights and services change under load of four kinds: no request fails, no
/// connection ends.
#[test]
fn services_and_servers_change_and_nothing_is_lost() -> Result<()> {
    let mut scene = Scene::up()?;
    let (web, echo) = (vips(WEB), vips(ECHO));
    let habits = [
        Habit::KeepAlive(web[0]),
        Habit::Fresh(web[1]),
        Habit::TcpEcho(echo[0]),
        Habit::UdpEcho(echo[1]),
    ];
    let Scene { lab, talks, .. } = &mut scene;
    let rounds = || {
        for round in 0..30_usize {
            let servers = if round % 2 == 0 { 2 } else { lab.backends.len() };
            Scene::configure(lab, servers, round % 3, round % 5 == 0)?;
            let (done, text) = reload(lab, &[])?;
            anyhow::ensure!(done, "round {round}: {text}");
            talks.iter_mut().try_for_each(lb_tests::actors::talk::Talk::echo)?;
        }
        Ok(())
    };
    let ((), tallies) = under(lab, &habits, rounds)?;
    assert_eq!(failures(&tallies), [""; 0]);
    scene.close()
}

#[test]
fn the_answer_says_what_changed() -> Result<()> {
    let scene = Scene::up()?;
    let all = scene.lab.backends.len();
    let said = |flags: &[&str]| -> Result<String> {
        let (done, text) = reload(&scene.lab, flags)?;
        assert!(done, "{text}");
        Ok(text)
    };
    assert_eq!(said(&[])?, "nothing changes\n");
    Scene::configure(&scene.lab, all - 1, 0, true)?;
    let expected = ["extra: added", "web: 2 backends removed", "echo: 2 backends removed"];
    for flags in [&["--dry-run"][..], &[]] {
        let text = said(flags)?;
        assert!(expected.iter().all(|words| text.contains(words)), "{text}");
        assert!(text.contains("go on until they end"), "of the quiet connections: {text}");
    }
    assert_eq!(said(&["--dry-run"])?, "nothing changes\n");
    let status = scene.daemon.status()?;
    let names: Vec<_> = status.services.iter().map(|service| &*service.name).collect();
    assert!(names.contains(&"extra"), "{names:?}");
    Scene::configure(&scene.lab, all, 0, false)?;
    assert!(said(&[])?.contains("extra: removed"));
    let log = scene.daemon.log();
    assert!(log.contains("extra: added") && log.contains("extra: removed"), "{log}");
    scene.close()
}

/// A server that stays keeps what it was known for, and the service its counts.
#[test]
fn what_stays_keeps_its_health_and_counts() -> Result<()> {
    let scene = Scene::up()?;
    let server = scene.first_web_server();
    let order = ["--deadline", "1h"];
    let (done, text) = lb_tests::daemon::process::drain(&scene.lab, "web", server, &order)?;
    assert!(done, "{text}");
    let web = vips(WEB)[0];
    let ((), _) = under(&scene.lab, &[Habit::Fresh(web)], || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        Ok(())
    })?;
    let before = scene.daemon.status()?;
    Scene::configure(&scene.lab, scene.lab.backends.len(), 1, false)?;
    assert!(reload(&scene.lab, &[])?.0);
    let after = scene.daemon.status()?;
    let counted = |status: &lb_tests::daemon::status::Status| -> Result<_> {
        let service = status.service("web").context("no web")?;
        let drains = service.backends.iter().filter(|it| it.draining).map(|it| it.address.clone());
        let taken = service.backends.iter().map(|it| it.connections).collect::<Vec<_>>();
        Ok((service.requests, taken, drains.collect::<Vec<_>>()))
    };
    assert_eq!(counted(&before)?, counted(&after)?);
    assert_eq!(counted(&after)?.2, [server.to_string()], "it was told to drain");
    scene.close()
}
