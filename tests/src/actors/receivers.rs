//! nginx and HAProxy as they run in the wild, on either side of the PROXY protocol.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::Command,
};

use anyhow::Result;

use crate::lab::{
    netns::Netns,
    process::{Process, poll},
    topology::{Backend, Lab},
};

/// Where nginx and HAProxy demand a PROXY protocol header.
pub const NGINX: u16 = 9000;
pub const HAPROXY: u16 = 9001;
/// Where HAProxy listens for clients of its own.
pub const FRONT: u16 = 9002;

/// nginx, which answers each request with who it was told the client is: address and port, then
/// those that the client connected to.
pub fn nginx(lab: &Lab, backend: &Backend) -> Result<Process> {
    let directory = lab.directory().display();
    let text = format!(
        "daemon off; user root; worker_processes 1; pid {directory}/nginx-{name}.pid;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; client_body_temp_path {directory}/body; server {{\n\
         listen {NGINX} proxy_protocol; listen [::]:{NGINX} proxy_protocol;\n\
         location / {{ return 200 \"$proxy_protocol_addr $proxy_protocol_port \
         $proxy_protocol_server_addr $proxy_protocol_server_port\\n\"; }}\n\
         }} }}\n",
        name = backend.name
    );
    let file = lab.directory().join(format!("nginx-{}.conf", backend.name));
    fs::write(&file, text)?;
    let mut command = backend.netns.command("nginx");
    command.arg("-c").arg(&file).args(["-e", "stderr"]);
    start(lab, &backend.netns, "nginx", command, NGINX)
}

/// HAProxy, which answers in the same way, and adds the name that TLS was for.
pub fn haproxy(lab: &Lab, backend: &Backend) -> Result<Process> {
    let text = format!(
        "frontend told\n\
         bind :{HAPROXY} accept-proxy\n\
         bind [::]:{HAPROXY} v6only accept-proxy\n\
         http-request return status 200 content-type text/plain lf-string \
         \"%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority]\\n\"\n"
    );
    haproxy_with(lab, &backend.netns, &text, HAPROXY)
}

/// HAProxy in front of us: it says `send` (`send-proxy`, `send-proxy-v2`) to `to`.
pub fn haproxy_in_front(lab: &Lab, send: &str, to: SocketAddr) -> Result<Process> {
    let text = format!("listen front\nbind 127.0.0.1:{FRONT}\nserver lb {to} {send}\n");
    haproxy_with(lab, &lab.client, &text, FRONT)
}

fn haproxy_with(lab: &Lab, netns: &Netns, sections: &str, port: u16) -> Result<Process> {
    let file = lab.directory().join(format!("haproxy-{}.cfg", netns.name()));
    let defaults = "defaults\nmode http\ntimeout connect 30s\ntimeout client 30s\n\
                    timeout server 30s\n";
    fs::write(&file, format!("{defaults}{sections}"))?;
    let mut command = netns.command("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    start(lab, netns, "haproxy", command, port)
}

fn start(lab: &Lab, netns: &Netns, name: &str, command: Command, port: u16) -> Result<Process> {
    let log = lab.directory().join(format!("{name}-{}.log", netns.name()));
    let mut process = Process::start(name, command, &log)?;
    poll(&format!("{name} listens"), || {
        process.check()?;
        netns.within(|| TcpStream::connect(("127.0.0.1", port)).is_ok())
    })?;
    Ok(process)
}
