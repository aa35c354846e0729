//! Clients: curl, and plain sockets inside a namespace.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::lab::{
    netns::Netns,
    process::{PATIENCE, output},
};

/// What curl got.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// `1.1` or `2`.
    pub version: String,
    pub body: String,
    /// Where a redirect leads.
    pub redirect: String,
}

/// One request by curl. Fails when no answer comes; any status is an answer.
pub fn curl(netns: &Netns, arguments: &[&str]) -> Result<Answer> {
    const FORMAT: &str = "\n%{http_code} %{http_version} %{redirect_url}";
    let patience = PATIENCE.as_secs().to_string();
    let mut curl = netns.command("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", &patience])
        .args(["--write-out", FORMAT])
        .args(arguments);
    let text = output(&mut curl)?;
    let (body, facts) = text.rsplit_once('\n').context("curl wrote no facts")?;
    let mut facts = facts.splitn(3, ' ');
    let mut fact = || facts.next().unwrap_or_default().to_owned();
    Ok(Answer {
        status: fact().parse().context("curl's status")?,
        version: fact(),
        redirect: fact(),
        body: body.to_owned(),
    })
}

/// A plain connection, to speak HTTP/1.1 by hand. To be opened inside the client's namespace.
pub struct Stream {
    read: BufReader<TcpStream>,
}

impl Stream {
    pub fn connect(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE).context("connecting")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { read: BufReader::new(stream) })
    }

    pub fn send(&mut self, text: &str) -> Result<()> {
        self.send_bytes(text.as_bytes())
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.read.get_mut().write_all(bytes)?)
    }

    /// The next response's header section, to its empty line.
    pub fn head(&mut self) -> Result<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let length = self.read.read_line(&mut head).context("reading a header section")?;
            ensure!(length > 0, "the connection ended amid {head:?}");
        }
        Ok(head)
    }

    /// Sends a request and reads the header section of its response.
    pub fn ask(&mut self, request: &str) -> Result<String> {
        self.send(request)?;
        self.head()
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<String> {
        let mut bytes = vec![0; length];
        self.read.read_exact(&mut bytes).context("reading")?;
        Ok(String::from_utf8(bytes)?)
    }

    /// Some of what comes next. Fails when nothing more does.
    pub fn read_some(&mut self, into: &mut [u8]) -> Result<usize> {
        let length = self.read.read(into).context("reading")?;
        ensure!(length > 0, "the connection ended early");
        Ok(length)
    }

    /// Sends no more, and still reads.
    pub fn finish(&mut self) -> Result<()> {
        Ok(self.read.get_ref().shutdown(Shutdown::Write)?)
    }

    /// What comes until the other side has ended, in order or by a reset.
    pub fn rest(&mut self) -> Result<String> {
        let mut rest = Vec::new();
        match self.read.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error.into()),
            Ok(_) | Err(_) => Ok(String::from_utf8_lossy(&rest).into_owned()),
        }
    }
}

/// The value of a header in a header section.
#[must_use]
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

/// A connection that says one line and hears it back with the server's name in front; the name.
/// To be called inside the client's namespace.
pub fn tcp_echo(to: SocketAddr, line: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).context("connecting")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).context("reading")?;
    name_in(answer.trim_end(), line)
}

/// A datagram from a new socket that comes back with the server's name in front; the name, and the
/// socket: while it lives no other has its port. Datagrams may get lost: it is sent again until an
/// answer comes. To be called inside the client's namespace.
pub fn udp_echo(to: SocketAddr, text: &str) -> Result<(String, UdpSocket)> {
    const TRIES: u32 = 10;
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE / TRIES))?;
    let mut buffer = vec![0; 65536];
    for _ in 0..TRIES {
        socket.send(text.as_bytes())?;
        if let Ok(length) = socket.recv(&mut buffer) {
            let name = name_in(std::str::from_utf8(&buffer[..length])?, text)?;
            return Ok((name, socket));
        }
    }
    bail!("{to} never answered a datagram");
}

fn name_in(answer: &str, sent: &str) -> Result<String> {
    let (name, echo) =
        answer.split_once(' ').with_context(|| format!("an answer without a name: {answer:?}"))?;
    ensure!(echo == sent, "sent {sent:?}, heard {echo:?}");
    Ok(name.to_owned())
}
