//! The flags of these commands, and what they ask for.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::{body_file::read_body, edit::Edits, port_words::PortWords};
use crate::{cli::selector::SocketFlags, objects::Body};

/// What is to be done with objects of one kind.
pub(super) enum Asked {
    List(Common),
    Get(String, Common),
    Create { name: String, body: Body, flags: WriteFlags },
    Edit { name: String, edits: Edits, flags: WriteFlags },
    Delete { name: String, flags: WriteFlags },
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Common {
    #[command(flatten)]
    pub(super) socket: SocketFlags,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct WriteFlags {
    /// Say only what would change.
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Asked {
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::List(common) | Self::Get(_, common) => common,
            Self::Create { flags, .. } | Self::Edit { flags, .. } | Self::Delete { flags, .. } => {
                &flags.common
            }
        }
    }
}

/// `lb services`.
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum ServicesCommand {
    /// List services, those of the file and those of the API.
    List(Common),
    /// Print a service as JSON.
    Get(GetFlags),
    /// Make a service.
    Create(CreateService),
    /// Change a service of the API: by flags, or in $EDITOR.
    Edit(EditFlags),
    /// Remove a service of the API.
    Delete(DeleteFlags),
}

/// `lb pools`.
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum PoolsCommand {
    /// List pools, those of the file and those of the API.
    List(Common),
    /// Print a pool as JSON.
    Get(GetFlags),
    /// Make a pool.
    Create(CreatePool),
    /// Change a pool of the API: by flags, or in $EDITOR.
    Edit(EditFlags),
    /// Remove a pool of the API that no service uses.
    Delete(DeleteFlags),
}

/// `lb certs`.
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum CertsCommand {
    /// List certificates, those of the file and those of the API.
    List(Common),
    /// Print where a certificate is, as JSON.
    Get(GetFlags),
    /// Use a certificate.
    Create(CreateCert),
    /// Use other files for a certificate of the API.
    Edit(EditFlags),
    /// Use a certificate of the API no more.
    Delete(DeleteFlags),
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct GetFlags {
    name: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DeleteFlags {
    name: String,
    #[command(flatten)]
    flags: WriteFlags,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct EditFlags {
    name: String,
    #[command(flatten)]
    edits: Edits,
    #[command(flatten)]
    flags: WriteFlags,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CreateService {
    name: String,
    /// The service in JSON, with the keys of the configuration file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// An address that clients reach. May be repeated, as all that follow but --pool.
    #[arg(long, value_name = "IP")]
    address: Vec<IpAddr>,
    /// A port, and what is done there: 443:8080/http+tls is port 443, whose servers listen on
    /// 8080. Without handlers it is steered in the kernel; `/udp` makes a service of datagrams.
    #[arg(long, value_name = "PORT[:PORT][/HANDLERS]")]
    port: Vec<PortWords>,
    /// A host name that clients ask for. Default: all.
    #[arg(long, value_name = "NAME")]
    hostname: Vec<String>,
    /// A server.
    #[arg(long, value_name = "IP[:PORT]", conflicts_with = "pool")]
    backend: Vec<String>,
    /// A pool of servers.
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    #[command(flatten)]
    flags: WriteFlags,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CreatePool {
    name: String,
    /// The pool in JSON, with the keys of the configuration file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A server. May be repeated.
    #[arg(long, value_name = "IP[:PORT]")]
    backend: Vec<String>,
    /// How a server is chosen.
    #[arg(long, value_name = "STRATEGY")]
    strategy: Option<String>,
    #[command(flatten)]
    flags: WriteFlags,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CreateCert {
    name: String,
    /// The certificate and its chain, in PEM.
    #[arg(long, value_name = "FILE", requires = "key", required_unless_present = "directory")]
    cert: Option<PathBuf>,
    /// Its key, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// All pairs in a directory.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "cert")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    flags: WriteFlags,
}

impl GetFlags {
    fn asked(self) -> Asked {
        Asked::Get(self.name, self.common)
    }
}

impl DeleteFlags {
    fn asked(self) -> Asked {
        Asked::Delete { name: self.name, flags: self.flags }
    }
}

impl EditFlags {
    fn asked(self) -> Asked {
        Asked::Edit { name: self.name, edits: self.edits, flags: self.flags }
    }
}

impl ServicesCommand {
    pub(super) fn asked(self) -> anyhow::Result<Asked> {
        Ok(match self {
            Self::List(common) => Asked::List(common),
            Self::Get(flags) => flags.asked(),
            Self::Create(flags) => flags.asked()?,
            Self::Edit(flags) => flags.asked(),
            Self::Delete(flags) => flags.asked(),
        })
    }
}

impl PoolsCommand {
    pub(super) fn asked(self) -> anyhow::Result<Asked> {
        Ok(match self {
            Self::List(common) => Asked::List(common),
            Self::Get(flags) => flags.asked(),
            Self::Create(flags) => flags.asked()?,
            Self::Edit(flags) => flags.asked(),
            Self::Delete(flags) => flags.asked(),
        })
    }
}

impl CertsCommand {
    pub(super) fn asked(self) -> anyhow::Result<Asked> {
        Ok(match self {
            Self::List(common) => Asked::List(common),
            Self::Get(flags) => flags.asked(),
            Self::Create(flags) => flags.asked()?,
            Self::Edit(flags) => flags.asked(),
            Self::Delete(flags) => flags.asked(),
        })
    }
}

impl CreateService {
    fn asked(self) -> anyhow::Result<Asked> {
        let Self { name, file, address, port, hostname, backend, pool, flags } = self;
        let mut body = file.as_deref().map(read_body).transpose()?.unwrap_or_default();
        if !address.is_empty() {
            body.insert("addresses".to_owned(), json!(address));
        }
        if !hostname.is_empty() {
            body.insert("hostnames".to_owned(), json!(hostname));
        }
        if !backend.is_empty() {
            body.insert("load_balancer".to_owned(), json!({ "servers": servers(&backend) }));
        }
        if let Some(pool) = pool {
            body.insert("pool".to_owned(), json!(pool));
        }
        add_ports(&mut body, &port)?;
        Ok(Asked::Create { name, body, flags })
    }
}

/// A service has one port of its servers, and one protocol.
fn add_ports(body: &mut Body, ports: &[PortWords]) -> anyhow::Result<()> {
    let Some(first) = ports.first() else { return Ok(()) };
    if ports.iter().any(|port| port.internal != first.internal) {
        bail!(
            "the servers of a service listen on one port: write it once, or as --backend IP:PORT"
        );
    }
    if ports.iter().any(|port| port.is_udp != first.is_udp) {
        bail!("a service has either TCP ports or UDP ports: make two services");
    }
    if let Some(internal) = first.internal {
        body.insert("internal_port".to_owned(), json!(internal));
    }
    if first.is_udp {
        body.insert("protocol".to_owned(), json!("udp"));
    }
    let ports: Vec<_> = ports.iter().map(PortWords::json).collect();
    body.insert("ports".to_owned(), json!(ports));
    Ok(())
}

impl CreatePool {
    fn asked(self) -> anyhow::Result<Asked> {
        let Self { name, file, backend, strategy, flags } = self;
        let mut body = file.as_deref().map(read_body).transpose()?.unwrap_or_default();
        if !backend.is_empty() {
            body.insert("servers".to_owned(), json!(servers(&backend)));
        }
        if let Some(strategy) = strategy {
            body.insert("strategy".to_owned(), json!(strategy));
        }
        Ok(Asked::Create { name, body, flags })
    }
}

impl CreateCert {
    fn asked(self) -> anyhow::Result<Asked> {
        let Self { name, cert, key, directory, flags } = self;
        let mut body = Body::new();
        for (key, file) in [("cert", cert), ("key", key), ("directory", directory)] {
            let Some(file) = file else { continue };
            // The daemon has another working directory.
            let file = std::path::absolute(&file)
                .with_context(|| format!("cannot find {}", file.display()))?;
            body.insert(key.to_owned(), json!(file));
        }
        Ok(Asked::Create { name, body, flags })
    }
}

fn servers(backends: &[String]) -> Vec<serde_json::Value> {
    backends.iter().map(|address| json!({ "address": address })).collect()
}
