//! nginx as a peer: one worker, with what its documentation advises for reverse proxies.

use std::{fs, net::Ipv4Addr};

use anyhow::Result;

use super::{
    origin,
    ports::{ANNOUNCED, HTTP, HTTPS, RELAY, TUNNEL},
};
use crate::lab::{process::Process, topology::Lab};

pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Debian's libnginx-mod-stream.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub(super) fn start(lab: &Lab) -> Result<Process> {
    let file = lab.directory().join("nginx.conf");
    fs::write(&file, configuration(lab))?;
    let mut command = lab.lb.command("nginx");
    command.arg("-c").arg(&file).arg("-e").arg("stderr");
    Process::start("nginx", command, &lab.directory().join("nginx.log"))
}

fn configuration(lab: &Lab) -> String {
    let directory = lab.directory().display();
    let certificate = format!(
        "ssl_protocols TLSv1.2 TLSv1.3; \
         ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;"
    );
    let (http, tunnel) = (origin::at(origin::HTTP), origin::at(origin::TUNNEL));
    let announced = origin::at(origin::ANNOUNCED);
    // Buffers that hold a large body in memory, and no temporary files, are to its advantage.
    format!(
        "load_module {STREAM_MODULE};\n\
         daemon off; user root; worker_processes 1; pid {directory}/nginx.pid;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n\
         access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;\n\
         client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n\
         proxy_max_temp_file_size 0; proxy_buffers 16 64k; proxy_busy_buffers_size 128k;\n\
         upstream origin {{ server {http}; keepalive 128; keepalive_requests 1000000000; }}\n\
         server {{\n\
         listen {ADDRESS}:{HTTP}; listen {ADDRESS}:{HTTPS} ssl http2;\n{certificate}\n\
         location / {{\n\
         proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         }} }}\n\
         server {{ listen {ADDRESS}:{TUNNEL}; location / {{\n\
         proxy_pass http://{tunnel}; proxy_http_version 1.1;\n\
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;\n\
         }} }} }}\n\
         stream {{ proxy_buffer_size 64k;\n\
         server {{ listen {ADDRESS}:{RELAY} ssl; {certificate} proxy_pass {http}; }}\n\
         server {{ listen {ADDRESS}:{ANNOUNCED}; proxy_protocol on; proxy_pass {announced}; }} }}\n"
    )
}
