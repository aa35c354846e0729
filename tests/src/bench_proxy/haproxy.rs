//! HAProxy as a peer: one thread.

use std::{fs, net::Ipv4Addr};

use anyhow::Result;

use super::{
    origin,
    ports::{ANNOUNCED, HTTP, HTTPS, RELAY, TUNNEL},
};
use crate::lab::{process::Process, topology::Lab};

pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

pub(super) fn start(lab: &Lab) -> Result<Process> {
    let directory = lab.directory();
    let read = |name: &str| fs::read_to_string(directory.join(name));
    fs::write(directory.join("both.pem"), read("cert.pem")? + &read("key.pem")?)?;
    let file = directory.join("haproxy.cfg");
    fs::write(&file, configuration(&directory.display().to_string()))?;
    let mut command = lab.lb.command("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    Process::start("haproxy", command, &directory.join("haproxy.log"))
}

fn configuration(directory: &str) -> String {
    let (http, tunnel) = (origin::at(origin::HTTP), origin::at(origin::TUNNEL));
    let announced = origin::at(origin::ANNOUNCED);
    // Splicing is off unless asked for; here it has what it can do.
    format!(
        "global\n nbthread 1\n maxconn 6000\n\
         defaults\n mode http\n option splice-auto\n http-reuse always\n\
         \x20timeout connect 5s\n timeout client 600s\n timeout server 600s\n\
         frontend web\n bind {ADDRESS}:{HTTP}\n\
         \x20bind {ADDRESS}:{HTTPS} ssl crt {directory}/both.pem alpn h2,http/1.1\n\
         \x20option forwardfor\n\
         \x20http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]\n\
         \x20default_backend origin\n\
         backend origin\n server origin {http}\n\
         frontend tunnels\n bind {ADDRESS}:{TUNNEL}\n default_backend tunnel\n\
         backend tunnel\n server tunnel {tunnel}\n\
         listen relay\n mode tcp\n bind {ADDRESS}:{RELAY} ssl crt {directory}/both.pem\n\
         \x20server origin {http}\n\
         listen announced\n mode tcp\n bind {ADDRESS}:{ANNOUNCED}\n\
         \x20server origin {announced} send-proxy\n"
    )
}
