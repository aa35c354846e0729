//! The lab itself: links, addresses and servers work before anything is balanced.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

use anyhow::Result;
use lb_tests::{
    actors::{
        client::{curl, tcp_echo, udp_echo},
        servers,
    },
    lab::{netns::Netns, process::poll, tag, topology::Lab},
};

#[test]
fn servers_answer_through_a_routing_kernel() -> Result<()> {
    let lab = Lab::up()?;
    lab.route_by_kernel()?;
    let _servers = servers::start_all(&lab)?;
    for backend in &lab.backends {
        for address in backend.addresses() {
            let http = SocketAddr::new(address, servers::HTTP);
            let answer = curl(&lab.client, &[&format!("http://{http}/where")])?;
            assert_eq!(answer.status, 200);
            assert!(answer.body.contains(&format!("\"server\":\"{}\"", backend.name)));
            let tcp = SocketAddr::new(address, servers::TCP);
            let udp = SocketAddr::new(address, servers::UDP);
            let names = lab.client.within(|| {
                Ok::<_, anyhow::Error>([tcp_echo(tcp, "hello")?, udp_echo(udp, "hello")?.0])
            })??;
            assert_eq!(names, [backend.name.clone(), backend.name.clone()]);
        }
    }
    Ok(())
}

#[test]
fn labs_stand_side_by_side_and_leave_nothing() -> Result<()> {
    let (one, two) = (Lab::up()?, Lab::up()?);
    let paths = [one.client.path(), two.client.path()];
    let directories = [one.directory().to_owned(), two.directory().to_owned()];
    assert_ne!(paths[0], paths[1]);
    drop((one, two));
    for left in paths.iter().chain(&directories) {
        assert!(!left.exists(), "{} was left behind", left.display());
    }
    Ok(())
}

#[test]
fn what_a_killed_run_left_goes_with_the_next() -> Result<()> {
    let mut run = Command::new("sleep").arg("1000").spawn()?;
    let tag = format!("{}-7", run.id());
    let mut left = [tag::namespace(&tag, "verdicts")?, tag::namespace(&tag, "host-a")?];
    left.iter_mut().for_each(Netns::keep);
    let mut inside = left[0].command("sleep").arg("1000").stdout(Stdio::null()).spawn()?;
    let files = [tag::directory(&tag), tag::pins(&tag)];
    files.iter().try_for_each(fs::create_dir_all)?;
    drop(tag::alone("next")?);
    assert!(left.iter().all(|netns| netns.path().exists()), "the run goes on");
    run.kill()?;
    run.wait()?;
    drop(tag::alone("next")?);
    // Another test may be at it, too.
    poll("it is gone", || {
        let namespaces = left.iter().any(|netns| netns.path().exists());
        Ok(!namespaces && !files.iter().any(|file| file.exists()))
    })?;
    inside.wait()?;
    Ok(())
}
