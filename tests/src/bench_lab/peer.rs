//! nginx as a reverse proxy in lb's place.

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream},
};

use anyhow::Result;

use crate::{
    actors::servers,
    lab::{
        process::{Process, poll},
        topology::Lab,
    },
};

/// lb's own address towards the client.
pub(super) const GATEWAY: &str = "10.101.0.1";

pub(super) fn start(lab: &Lab) -> Result<Process> {
    let file = lab.directory().join("nginx.conf");
    fs::write(&file, configuration(lab))?;
    let mut command = lab.lb.command("nginx");
    command.arg("-c").arg(&file).arg("-e").arg("stderr");
    let mut nginx = Process::start("nginx", command, &lab.directory().join("nginx.log"))?;
    let address = SocketAddr::new(GATEWAY.parse()?, 443);
    poll("nginx listens", || {
        nginx.check()?;
        lab.client.within(|| TcpStream::connect(address).is_ok())
    })?;
    Ok(nginx)
}

fn configuration(lab: &Lab) -> String {
    let directory = lab.directory().display();
    let mut backends = String::new();
    for backend in &lab.backends {
        let _ = writeln!(backends, "server {}:{};", backend.v4, servers::HTTP);
    }
    format!(
        "daemon off; user root; worker_processes auto; pid {directory}/nginx.pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
         access_log off;\n\
         keepalive_requests 100000000;\n\
         client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n\
         upstream backends {{ {backends} keepalive 64; keepalive_requests 100000000; }}\n\
         server {{\n\
         listen {GATEWAY}:80; listen {GATEWAY}:443 ssl;\n\
         ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;\n\
         location / {{\n\
         proxy_pass http://backends; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         }} }} }}\n"
    )
}
