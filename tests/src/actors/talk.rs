//! A connection that lasts: a line and its echo at a time.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context as _, Result, ensure};

use crate::lab::{netns::Netns, process::PATIENCE};

/// A TCP connection to an echoing server.
pub struct Talk {
    stream: BufReader<TcpStream>,
    /// The server's name.
    pub server: String,
}

impl Talk {
    /// Opens it from inside `netns` and hears the first echo.
    pub fn open(netns: &Netns, to: SocketAddr) -> Result<Self> {
        let stream = netns.within(|| TcpStream::connect_timeout(&to, PATIENCE))?;
        let stream = stream.with_context(|| format!("connecting to {to}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut talk = Self { stream: BufReader::new(stream), server: String::new() };
        talk.server = talk.hear("hello")?;
        Ok(talk)
    }

    /// One line there and back, from the same server as before.
    pub fn echo(&mut self) -> Result<()> {
        let server = self.hear("still there?")?;
        ensure!(server == self.server, "{server} answers for {}", self.server);
        Ok(())
    }

    /// The same with a line of so many bytes: several segments, one behind the other.
    pub fn echo_long(&mut self, length: usize) -> Result<()> {
        let server = self.hear(&"x".repeat(length))?;
        ensure!(server == self.server, "{server} answers for {}", self.server);
        Ok(())
    }

    fn hear(&mut self, line: &str) -> Result<String> {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer).context("an established connection")?;
        let said = answer.strip_suffix(&format!(" {line}\n"));
        Ok(said.with_context(|| format!("heard {answer:?}"))?.to_owned())
    }
}
