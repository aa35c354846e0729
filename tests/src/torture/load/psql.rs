//! One session of psql that asks all the time.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::count::{Count, joined};
use crate::{
    actors::postgres::conninfo,
    lab::{netns::Netns, topology::Lab},
    torture::names::HOST,
};

const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Psql(JoinHandle<Count>);

impl Psql {
    /// `tls`: libpq's `sslmode`.
    pub(super) fn open(
        lab: &Lab,
        to: SocketAddr,
        tls: &'static str,
        stop: Arc<AtomicBool>,
    ) -> Result<Self> {
        let client = Netns::existing(lab.client.name()).context("no client")?;
        Ok(Self(thread::spawn(move || {
            let mut count = Count::of("psql");
            while !stop.load(Ordering::Relaxed) {
                match Session::start(&client, to, tls) {
                    Ok(session) => session.go_on(&stop, &mut count),
                    Err(error) => count.fail(&error.context("starting psql")),
                }
            }
            count
        })))
    }

    pub(super) fn close(self) -> Result<Count> {
        joined(self.0)
    }
}

struct Session {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Session {
    fn start(client: &Netns, to: SocketAddr, tls: &str) -> Result<Self> {
        let mut psql = client.command("psql");
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"]);
        psql.arg(conninfo(to, HOST, &format!("sslmode={tls}")));
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let ask = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { child, ask, answers })
    }

    /// Ends with the first error: a new session begins then.
    fn go_on(mut self, stop: &AtomicBool, count: &mut Count) {
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.query(number) {
                return count.fail(&error.context(format!("query {number} of a session")));
            }
            count.requests += 1;
            thread::sleep(PAUSE);
        }
    }

    fn query(&mut self, number: u64) -> Result<()> {
        writeln!(self.ask, "select {number};")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        ensure!(answer.trim() == number.to_string(), "{answer:?}");
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It ends with its input; if not, it is ended.
        let _ = writeln!(self.ask, "\\q");
        thread::sleep(Duration::from_millis(100));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
