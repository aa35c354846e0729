//! Clients that go on asking while a test does something else, and count what failed.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, ensure};

use super::client::{Stream, header, tcp_echo, udp_echo};
use crate::lab::topology::Lab;

/// What a client does again and again.
#[derive(Clone, Copy, Debug)]
pub enum Habit {
    /// Requests over one connection, as long as the proxy keeps it.
    KeepAlive(SocketAddr),
    /// A connection for each request.
    Fresh(SocketAddr),
    /// A steered TCP connection for each line.
    TcpEcho(SocketAddr),
    /// A datagram from a new port.
    UdpEcho(SocketAddr),
}

/// What came of one client.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub done: u64,
    pub failures: Vec<String>,
}

/// Does `work` while a client of each habit is busy, and returns what came of each.
///
/// # Errors
///
/// `work` failed, or a client did nothing at all.
pub fn under<T>(
    lab: &Lab,
    habits: &[Habit],
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Vec<Tally>)> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = |habit: Habit| {
            let stop = &stop;
            scope.spawn(move || lab.client.within(|| habit.go_on(stop)))
        };
        let clients: Vec<_> = habits.iter().copied().map(client).collect();
        let worked = work();
        stop.store(true, Ordering::Relaxed);
        let tallies = clients.into_iter().map(|client| match client.join() {
            Ok(tally) => tally,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let tallies: Vec<_> = tallies.collect::<Result<_>>()?;
        let worked = worked?;
        for (habit, tally) in habits.iter().zip(&tallies) {
            ensure!(tally.done > 0, "{habit:?} was never served: {tally:?}");
        }
        Ok((worked, tallies))
    })
}

impl Habit {
    fn go_on(self, stop: &AtomicBool) -> Tally {
        let (mut tally, mut kept) = (Tally::default(), None);
        while !stop.load(Ordering::Relaxed) {
            let done = match self {
                Self::KeepAlive(to) => ask(&mut kept, to, true),
                Self::Fresh(to) => ask(&mut None, to, false),
                Self::TcpEcho(to) => tcp_echo(to, "line").map(drop),
                Self::UdpEcho(to) => udp_echo(to, "datagram").map(drop),
            };
            match done {
                Ok(()) => tally.done += 1,
                Err(error) => {
                    kept = None;
                    tally.failures.push(format!("{self:?}: {error:#}"));
                }
            }
        }
        tally
    }
}

/// One request. Keeps the connection if both sides want to.
fn ask(kept: &mut Option<Stream>, to: SocketAddr, keep: bool) -> Result<()> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => Stream::connect(to)?,
    };
    let connection = if keep { "keep-alive" } else { "close" };
    let head = stream
        .ask(&format!("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: {connection}\r\n\r\n"))?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = header(&head, "content-length").context("no length")?;
    stream.take(length.parse()?)?;
    let closes = header(&head, "connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
    if keep && !closes {
        *kept = Some(stream);
    }
    Ok(())
}

/// All failures, for a message.
#[must_use]
pub fn failures(tallies: &[Tally]) -> Vec<&str> {
    tallies.iter().flat_map(|tally| &tally.failures).map(String::as_str).collect()
}
