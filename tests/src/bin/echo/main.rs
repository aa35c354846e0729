//! A backend: HTTP, TCP and UDP servers that say who they are.

mod gate;
mod http;

use std::net::{IpAddr, Ipv6Addr};

use anyhow::Result;
use clap::Parser;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream, UdpSocket},
};

#[derive(Clone, Parser)]
struct Flags {
    #[arg(long)]
    name: String,
    #[arg(long)]
    http: u16,
    #[arg(long)]
    tcp: u16,
    #[arg(long)]
    udp: u16,
    /// Answer datagrams at these addresses alone, as them. A socket bound to none answers as
    /// whichever address routing prefers.
    #[arg(long)]
    udp_at: Vec<IpAddr>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let flags = Flags::parse();
    let web = TcpListener::bind((Ipv6Addr::UNSPECIFIED, flags.http)).await?;
    let tcp = TcpListener::bind((Ipv6Addr::UNSPECIFIED, flags.tcp)).await?;
    let anywhere = vec![Ipv6Addr::UNSPECIFIED.into()];
    for &address in if flags.udp_at.is_empty() { &anywhere } else { &flags.udp_at } {
        let socket = UdpSocket::bind((address, flags.udp)).await?;
        tokio::spawn(serve_udp(socket, flags.name.clone()));
    }
    println!("ready");
    tokio::try_join!(http::serve(web, flags.name.clone()), serve_tcp(tcp, flags.name),)?;
    Ok(())
}

async fn serve_tcp(listener: TcpListener, name: String) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(echo_lines(stream, name.clone()));
    }
}

async fn echo_lines(stream: TcpStream, name: String) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        write.write_all(format!("{name} {line}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn serve_udp(socket: UdpSocket, name: String) {
    let mut buffer = vec![0; 65536];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            // An ICMP error about an earlier answer.
            continue;
        };
        let mut answer = format!("{name} ").into_bytes();
        answer.extend_from_slice(&buffer[..length]);
        let _ = socket.send_to(&answer, from).await;
    }
}
