//! The lab: `client — lb — fabric — b1, b2, b3`, over veth, IPv4 and IPv6.
//!
//! ```text
//! client eth0 ── up0 lb down0 ── port0 fabric(br0) ── b1…b3 eth0
//! 10.101.0.2/24  .1      10.102.0.1/24                10.102.0.11…13/24
//! fd65:1::2/64   ::1     fd65:2::1/64                 fd65:2::11…13/64
//! ```
//!
//! The client's default route leads to lb. Backends have no default route: an answer comes back
//! only if lb gave the packet an address of its own.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process,
};

pub use super::tag::{directory, find, pins, remove};
use super::{
    far_end,
    netns::Netns,
    process::{output, poll},
    tag,
};
use anyhow::{Context as _, Result};

/// Announced addresses, from the ranges for documentation (RFC 5737, RFC 3849).
pub const VIP4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// A second pair of them.
pub const DNS4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
pub const DNS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);

/// A port of the first pair.
#[must_use]
pub fn vips(port: u16) -> [SocketAddr; 2] {
    [(VIP4, port).into(), (VIP6, port).into()]
}

pub const CLIENT4: Ipv4Addr = Ipv4Addr::new(10, 101, 0, 2);
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd65, 1, 0, 0, 0, 0, 0, 2);
/// Of a client at a second uplink.
pub const SECOND4: Ipv4Addr = Ipv4Addr::new(10, 103, 0, 2);
pub const SECOND6: Ipv6Addr = Ipv6Addr::new(0xfd65, 3, 0, 0, 0, 0, 0, 2);
/// lb's addresses towards the backends.
pub const INNER4: Ipv4Addr = Ipv4Addr::new(10, 102, 0, 1);
pub const INNER6: Ipv6Addr = Ipv6Addr::new(0xfd65, 2, 0, 0, 0, 0, 0, 1);

/// lb's interfaces: towards the client, towards the backends.
pub const INTERFACES: [&str; 2] = ["up0", "down0"];

/// The tag of the lab that stays up for people.
pub const KEPT: &str = "lab";

const BACKENDS: u8 = 3;

/// The namespaces of one lab, a directory for its files and one for the data path. All of it goes
/// when dropped.
pub struct Lab {
    pub client: Netns,
    pub lb: Netns,
    pub fabric: Netns,
    pub backends: Vec<Backend>,
    tag: String,
    directory: PathBuf,
    kept: bool,
}

pub struct Backend {
    pub name: String,
    pub netns: Netns,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Backend {
    fn create(tag: &str, number: u8) -> Result<Self> {
        let name = format!("b{number}");
        Ok(Self {
            netns: tag::namespace(tag, &name)?,
            name,
            v4: Ipv4Addr::new(10, 102, 0, 10 + number),
            v6: Ipv6Addr::new(0xfd65, 2, 0, 0, 0, 0, 0, 0x10 + u16::from(number)),
        })
    }

    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

impl Lab {
    /// A lab of this process alone, beside any other.
    pub fn up() -> Result<Self> {
        Self::tagged(&tag::own())
    }

    /// A lab whose namespaces are called `lb-TAG-…`.
    pub fn tagged(tag: &str) -> Result<Self> {
        let directory = directory(tag);
        fs::create_dir_all(&directory)
            .with_context(|| format!("creating {}", directory.display()))?;
        let lab = Self {
            client: tag::namespace(tag, "client")?,
            lb: tag::namespace(tag, "lb")?,
            fabric: tag::namespace(tag, "fabric")?,
            backends: (1..=BACKENDS)
                .map(|number| Backend::create(tag, number))
                .collect::<Result<_>>()?,
            tag: tag.to_owned(),
            directory,
            kept: false,
        };
        lab.connect()?;
        lab.wait_for_links()?;
        Ok(lab)
    }

    /// For this lab's files: configuration, sockets, logs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Makes lb an ordinary router: what the balancer is compared with.
    pub fn route_by_kernel(&self) -> Result<()> {
        self.lb.set_sysctl("net/ipv4/ip_forward", "1")?;
        self.lb.set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
        for backend in &self.backends {
            backend.netns.ip("route replace default via 10.102.0.1")?;
            backend.netns.ip("-6 route replace default via fd65:2::1")?;
        }
        Ok(())
    }

    /// A host of its own, for a second uplink: see [`Lab::plug`].
    pub fn second_client(&self) -> Result<Netns> {
        tag::namespace(&self.tag, "second")
    }

    /// Connects `client` to lb as a NIC `interface` that appears: 10.103.0.2/24 and fd65:3::2/64
    /// behind it, lb at .1 and ::1.
    pub fn plug(&self, client: &Netns, interface: &str) -> Result<()> {
        veth(client, "eth0", &self.lb, interface)?;
        host_addresses(client, [SECOND4.into(), SECOND6.into()])?;
        self.lb.ip(&format!("addr add 10.103.0.1/24 dev {interface}"))?;
        self.lb.ip(&format!("addr add fd65:3::1/64 dev {interface} nodad"))?;
        client.ip("route add default via 10.103.0.1")?;
        client.ip("-6 route add default via fd65:3::1")?;
        Ok(())
    }

    /// Gives the backends the announced addresses and a way to the client that does not pass lb, as
    /// backends that answer directly have. The way is a link of its own between fabric and client:
    ///
    /// ```text
    /// fabric(br0) ── direct0 ══ eth1 client 10.103.0.2, fd65:3::2
    /// ```
    pub fn answer_directly(&self) -> Result<()> {
        veth(&self.client, "eth1", &self.fabric, "direct0")?;
        offloads(&self.client, "eth1", &["tx", "off", "tso", "off", "gso", "off", "gro", "on"])?;
        self.fabric.ip("link set direct0 master br0")?;
        self.client.ip("addr add 10.103.0.2/24 dev eth1")?;
        self.client.ip("addr add fd65:3::2/64 dev eth1 nodad")?;
        for backend in &self.backends {
            let netns = &backend.netns;
            // On lo, and never announced on the link: requests for them are lb's.
            netns.set_sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
            netns.set_sysctl("net/ipv4/conf/all/arp_announce", "2")?;
            netns.ip(&format!("addr add {VIP4}/32 dev lo"))?;
            netns.ip(&format!("addr add {VIP6}/128 dev lo nodad"))?;
            netns.ip("route add 10.101.0.0/24 via 10.103.0.2 dev eth0 onlink")?;
            netns.ip("-6 route add fd65:1::/64 via fd65:3::2 dev eth0 onlink")?;
        }
        // What comes by the one link answers what went by the other.
        self.client.set_sysctl("net/ipv4/conf/all/rp_filter", "0")?;
        self.client.set_sysctl("net/ipv4/conf/eth1/rp_filter", "0")?;
        self.wait_for_links()
    }

    /// Lets it outlive us.
    pub fn keep(&mut self) {
        self.kept = true;
        self.client.keep();
        self.lb.keep();
        self.fabric.keep();
        for backend in &mut self.backends {
            backend.netns.keep();
        }
    }

    fn connect(&self) -> Result<()> {
        veth(&self.client, "eth0", &self.lb, "up0")?;
        veth(&self.lb, "down0", &self.fabric, "port0")?;
        self.fabric.ip("link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0")?;
        for backend in &self.backends {
            veth(&backend.netns, "eth0", &self.fabric, &backend.name)?;
            host_addresses(&backend.netns, backend.addresses())?;
        }
        let names = self.backends.iter().map(|backend| backend.name.as_str());
        for port in names.chain(["port0"]) {
            self.fabric.ip(&format!("link set {port} master br0"))?;
        }
        self.fabric.ip("link set br0 up")?;
        host_addresses(&self.client, [CLIENT4.into(), CLIENT6.into()])?;
        self.lb.ip("addr add 10.101.0.1/24 dev up0")?;
        self.lb.ip("addr add fd65:1::1/64 dev up0 nodad")?;
        self.lb.ip(&format!("addr add {INNER4}/24 dev down0"))?;
        self.lb.ip(&format!("addr add {INNER6}/64 dev down0 nodad"))?;
        // Redirected frames enter a veth's far end only through NAPI, which GRO turns on.
        offloads(&self.fabric, "port0", &["gro", "on"])?;
        // Echoes that XDP answers go back by XDP_TX.
        far_end::attach(&self.client, "eth0", &self.directory)?;
        self.client.ip("route add default via 10.101.0.1")?;
        self.client.ip("-6 route add default via fd65:1::1")?;
        Ok(())
    }

    pub(crate) fn wait_for_links(&self) -> Result<()> {
        let all = [&self.client, &self.lb, &self.fabric]
            .into_iter()
            .chain(self.backends.iter().map(|backend| &backend.netns));
        for netns in all {
            poll(&format!("the links of {} are up", netns.name()), || {
                let links = netns.ip("-o link show")?;
                let real = links.lines().filter(|link| !link.contains("LOOPBACK"));
                Ok(real.clone().count() > 0 && real.clone().all(|link| link.contains("state UP")))
            })?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.kept {
            tag::remove_files(&self.tag);
        }
    }
}

/// A pair of links, up. The left end is a host's: it sends whole checksums and no super-packets,
/// because what XDP rewrites must be a finished frame.
fn veth(left: &Netns, left_name: &str, right: &Netns, right_name: &str) -> Result<()> {
    output(process::Command::new("ip").args([
        "link",
        "add",
        left_name,
        "netns",
        left.name(),
        "type",
        "veth",
        "peer",
        "name",
        right_name,
        "netns",
        right.name(),
    ]))?;
    left.ip(&format!("link set {left_name} up"))?;
    right.ip(&format!("link set {right_name} up"))?;
    Ok(())
}

fn host_addresses(netns: &Netns, addresses: [IpAddr; 2]) -> Result<()> {
    offloads(netns, "eth0", &["tx", "off", "tso", "off", "gso", "off", "gro", "on"])?;
    for address in addresses {
        let (length, flag) = if address.is_ipv4() { (24, "") } else { (64, "nodad") };
        netns.ip(&format!("addr add {address}/{length} dev eth0 {flag}"))?;
    }
    Ok(())
}

fn offloads(netns: &Netns, device: &str, settings: &[&str]) -> Result<()> {
    output(netns.command("ethtool").args(["-K", device]).args(settings))?;
    Ok(())
}
