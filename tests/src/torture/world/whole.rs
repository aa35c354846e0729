//! The configuration as a whole.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr};

use super::{pool::Pool, service::Service};
use crate::{
    actors::{iperf, postgres, servers},
    lab::topology::Lab,
    torture::names::{HTTP, HTTPS, POSTGRES, STEERED_TCP, STEERED_UDP},
};

/// Pairs of certificate and key for the traffic's name.
pub(in crate::torture) const CERTIFICATES: [&str; 2] = ["first", "second"];
/// A third interface, which comes and goes.
pub(in crate::torture) const UPLINK: &str = "up1";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::torture) struct World {
    directory: String,
    /// What `[node]` and `[admin]` say always.
    preamble: String,
    /// Indices of [`CERTIFICATES`].
    pub(super) certificates: Vec<usize>,
    pub(super) uplink: bool,
    /// More keys of `[node]` and `[proxy]`, with values in TOML.
    pub(super) node: BTreeMap<&'static str, String>,
    pub(super) proxy: BTreeMap<&'static str, String>,
    pub(super) services: Vec<Service>,
    /// For servers of services that are added.
    pub(super) echoes: Echoes,
    pub(super) added: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Echoes {
    pub http: Vec<SocketAddr>,
    pub tcp: Vec<SocketAddr>,
    pub udp: Vec<SocketAddr>,
}

impl World {
    /// What the traffic needs, and no more.
    pub(in crate::torture) fn new(lab: &Lab, preamble: String) -> Self {
        let echoes = Echoes {
            http: servers::addresses(lab, servers::HTTP),
            tcp: servers::addresses(lab, servers::TCP),
            udp: servers::addresses(lab, servers::UDP),
        };
        let databases = servers::addresses(lab, postgres::PORT);
        let at = |port| servers::addresses(lab, port);
        let first = |port| {
            iperf::addresses(lab).map(|mut it: SocketAddr| {
                it.set_port(port);
                it
            })
        };
        let tls = "tls_options = { default_self_signed = true }";
        let service = |name: &str, protocol, ports: String, pool| Service {
            name: name.to_owned(),
            protocol,
            ports: ports.split('\n').map(str::to_owned).collect(),
            hostnames: Vec::new(),
            pool,
            keys: BTreeMap::new(),
        };
        let web = format!(
            "port = {HTTP}, handlers = [\"http\"]\n\
             port = {HTTPS}, handlers = [\"tls\", \"http\"], {tls}"
        );
        let database = format!("port = {POSTGRES}, handlers = [\"pg_tls\"]");
        let (tcp, udp) = (format!("port = {STEERED_TCP}"), format!("port = {STEERED_UDP}"));
        let of = |port| Pool::of(&at(port), &first(port));
        Self {
            directory: lab.directory().display().to_string(),
            preamble,
            certificates: vec![0],
            uplink: false,
            node: BTreeMap::new(),
            proxy: BTreeMap::new(),
            services: vec![
                service("web", "tcp", web, Pool::of(&echoes.http, &[])),
                service("database", "tcp", database, Pool::of(&databases, &[])),
                service("bulk", "tcp", tcp, of(STEERED_TCP)),
                // iperf3 keeps a TCP connection to the server beside its datagrams.
                service("stream", "udp", udp.clone(), of(STEERED_UDP)),
                service("stream-control", "tcp", udp, of(STEERED_UDP)),
            ],
            echoes,
            added: 0,
        }
    }

    /// The first one again, in which nothing is kept that nobody uses: what there is then is a
    /// connection's.
    pub(in crate::torture) fn last(first: &Self) -> Self {
        let mut last = first.clone();
        last.proxy.insert("upstream_idle_timeout", "\"1s\"".to_owned());
        // Flows of datagrams end by silence alone.
        let silence = "{ udp = '2s', udp_answered = '2s', udp_unanswered = '2s' }";
        last.node.insert("flow_timeouts", silence.to_owned());
        last
    }

    /// The session's own server may leave now and its connections go on.
    pub(in crate::torture) fn let_go(&mut self) {
        for service in &mut self.services {
            if service.name == "bulk" || service.name == "stream-control" {
                service.pool.fixed.clear();
            }
        }
    }

    pub(in crate::torture) fn toml(&self) -> String {
        let mut node = String::new();
        for (key, value) in &self.node {
            let _ = writeln!(node, "{key} = {value}");
        }
        let mut text = self.preamble.replacen("[node]\n", &format!("[node]\n{node}"), 1);
        if self.uplink {
            text = text.replacen("interfaces = [", &format!("interfaces = [\"{UPLINK}\", "), 1);
        }
        let _ = writeln!(text, "\n[proxy]");
        for (key, value) in &self.proxy {
            let _ = writeln!(text, "{key} = {value}");
        }
        for stem in self.certificates.iter().map(|&index| CERTIFICATES[index]) {
            let at = format!("{}/{stem}", self.directory);
            let _ =
                write!(text, "\n[[certificates]]\ncert = \"{at}.pem\"\nkey = \"{at}-key.pem\"\n");
        }
        self.services.iter().for_each(|service| text += &service.toml());
        text
    }
}
