//! With a service manager like systemd: it is told what runs, and keeps the listening sockets over
//! a crash. This one is played by the test (sd_notify(3), sd_listen_fds(3)).

use std::{
    fs,
    io::IoSliceMut,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{client::Stream, servers},
    daemon::process::Daemon,
    lab::{
        process::{poll, program},
        topology::{Lab, vips},
    },
};
use nix::{
    cmsg_space,
    fcntl::{FcntlArg, fcntl},
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg},
};

use crate::{WEB, configuration};

const WORKERS: usize = 2;

struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    told: Vec<String>,
    kept: Vec<OwnedFd>,
}

impl Manager {
    fn new(lab: &Lab) -> Result<Self> {
        let path = lab.directory().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path, told: Vec::new(), kept: Vec::new() })
    }

    /// Waits until it was told `words`.
    fn hears(&mut self, words: &str) -> Result<()> {
        poll(words, || {
            self.listen()?;
            Ok(self.told.iter().any(|told| told.contains(words)))
        })
        .with_context(|| format!("told: {:?}", self.told))
    }

    fn listen(&mut self) -> Result<()> {
        loop {
            let mut text = [0; 4096];
            let mut parts = [IoSliceMut::new(&mut text)];
            let mut room = cmsg_space!([i32; 64]);
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let received =
                recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut room), flags);
            let received = match received {
                Err(nix::errno::Errno::EAGAIN) => return Ok(()),
                received => received?,
            };
            for message in received.cmsgs()? {
                if let ControlMessageOwned::ScmRights(fds) = message {
                    // SAFETY: the kernel has made them for this process, and nobody else has them.
                    self.kept.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
            }
            let length = received.bytes;
            self.told.push(String::from_utf8_lossy(&text[..length]).into_owned());
        }
    }

    fn start(&self, lab: &Lab) -> Result<Command> {
        let mut command = lab.lb.command(program("lb")?);
        command.env("NOTIFY_SOCKET", &self.path).arg("run").arg("--config");
        command.arg(lab.directory().join("lb.toml"));
        Ok(command)
    }

    /// The same with what was kept, as descriptors from 3 on.
    fn restart(&self, lab: &Lab) -> Result<(Command, Vec<OwnedFd>)> {
        const FAR: i32 = 50;
        let copy = |fd: &OwnedFd| -> Result<OwnedFd> {
            let copy = fcntl(fd, FcntlArg::F_DUPFD(FAR))?;
            // SAFETY: it was just made.
            Ok(unsafe { OwnedFd::from_raw_fd(copy) })
        };
        let copies: Vec<_> = self.kept.iter().map(copy).collect::<Result<_>>()?;
        let moved = copies.iter().enumerate();
        let moved: Vec<_> =
            moved.map(|(index, fd)| format!("{}<&{}", 3 + index, fd.as_raw_fd())).collect();
        let script = format!("exec {}; LISTEN_PID=$$ exec \"$@\"", moved.join(" "));
        let mut command = lab.lb.command("bash");
        command.args(["-c", &script, "bash"]).arg(program("lb")?);
        command.env("NOTIFY_SOCKET", &self.path).env("LISTEN_FDS", copies.len().to_string());
        command.env("LISTEN_FDNAMES", vec!["lb-listener"; copies.len()].join(":"));
        command.arg("run").arg("--config").arg(lab.directory().join("lb.toml"));
        Ok((command, copies))
    }
}

#[test]
fn clients_wait_through_a_crash_where_the_sockets_are_kept() -> Result<()> {
    let lab = Lab::up()?;
    let servers = servers::start_all(&lab)?;
    let file = lab.directory().join("lb.toml");
    fs::write(&file, configuration(&lab, &format!("workers = {WORKERS}")))?;
    let mut manager = Manager::new(&lab)?;
    let mut daemon = Daemon::run_prepared(manager.start(&lab)?, &lab)?;
    manager.hears("READY=1")?;
    manager.hears("FDSTORE=1")?;
    ensure!(manager.kept.len() == WORKERS, "{} sockets are kept", manager.kept.len());
    let (done, said) = daemon.upgrade(&[])?;
    ensure!(done, "{said}");
    manager.hears(&format!("MAINPID={}", daemon.id()))?;
    daemon.kill()?;
    // They connect while no process serves, and are answered by the next one.
    let clients = vips(WEB).into_iter().cycle().take(8);
    let clients = clients.map(|vip| lab.client.within(|| Stream::connect(vip))?);
    let clients: Vec<_> = clients.collect::<Result<_>>().context("nobody serves")?;
    let (command, copies) = manager.restart(&lab)?;
    let next = Daemon::run_prepared(command, &lab)?;
    drop(copies);
    for mut client in clients {
        let head = client.ask("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    next.when_quiet()?;
    next.stop()?;
    manager.hears("STOPPING=1")?;
    drop((daemon, servers));
    Ok(())
}
