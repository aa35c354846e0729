//! Raw bytes through an upgraded HTTP/1.1 connection, without TLS on either side.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use super::{contender::Contender, extent::Extent, origin, ports::TUNNEL, turn::Work};
use crate::{actors::client::Stream, lab::topology::Lab};

pub(super) const NAME: &str = "relay";
/// Tunnels at a time.
const TUNNELS: usize = 4;
/// Through each, for each second that a turn is to take.
const MIB: usize = 128;
const CHUNK: usize = 256 * 1024;

pub(super) fn run(lab: &Lab, contender: &Contender, extent: Extent) -> Result<Work> {
    let mib = MIB * extent.seconds as usize;
    let to = contender.at(TUNNEL);
    lab.lb.within(|| -> Result<Work> {
        let listener = TcpListener::bind(origin::at(origin::TUNNEL))?;
        let started = Instant::now();
        thread::scope(|scope| -> Result<()> {
            let source = scope.spawn(|| serve(&listener, mib));
            let sinks: Vec<_> = (0..TUNNELS).map(|_| scope.spawn(|| take(to, mib))).collect();
            for sink in sinks {
                sink.join().expect("a sink does not panic")?;
            }
            source.join().expect("the source does not panic")
        })?;
        Ok(Work { done: (TUNNELS * mib) as f64, seconds: started.elapsed().as_secs_f64() })
    })?
}

/// Agrees to every upgrade and sends `mib` MiB.
fn serve(listener: &TcpListener, mib: usize) -> Result<()> {
    thread::scope(|scope| {
        let all: Vec<_> = (0..TUNNELS)
            .map(|_| -> Result<_> {
                let (stream, _) = listener.accept()?;
                Ok(scope.spawn(move || pour(stream, mib)))
            })
            .collect::<Result<_>>()?;
        all.into_iter().try_for_each(|one| one.join().expect("a source does not panic"))
    })
}

fn pour(mut stream: TcpStream, mib: usize) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).context("reading a request")?;
        head.push(byte[0]);
    }
    stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: bench\r\n\r\n",
    )?;
    let chunk = vec![0; CHUNK];
    for _ in 0..mib * (1 << 20) / CHUNK {
        stream.write_all(&chunk)?;
    }
    Ok(())
}

fn take(to: SocketAddr, mib: usize) -> Result<()> {
    let mut stream = Stream::connect(to)?;
    let head = stream
        .ask("GET / HTTP/1.1\r\nHost: bench\r\nConnection: upgrade\r\nUpgrade: bench\r\n\r\n")?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut left = mib << 20;
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        let wanted = left.min(CHUNK);
        left -= stream.read_some(&mut chunk[..wanted])?;
    }
    Ok(())
}
