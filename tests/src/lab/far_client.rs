//! A client one hop further away, behind a narrow link.

use anyhow::Result;

use super::{netns::Netns, process::output, topology::Lab};

pub const FAR4: &str = "10.104.0.2";
pub const FAR6: &str = "fd65:4::2";
/// Bytes that the link to it carries.
pub const MTU: &str = "1400";

/// The client's namespace routes, over a link of which only the far half is narrow: the far client
/// offers segments of 1460 bytes, so that it takes the router to tell the backend.
pub fn start(lab: &Lab) -> Result<Netns> {
    let far = Netns::create(&format!("lb-{}-far", lab.tag()))?;
    let router = &lab.client;
    router.ip(&format!("link add far0 type veth peer name eth0 netns {}", far.name()))?;
    output(far.command("ethtool").args(["-K", "eth0", "tx", "off"]))?;
    for line in ["addr add 10.104.0.1/24 dev far0", "addr add fd65:4::1/64 dev far0 nodad"] {
        router.ip(line)?;
    }
    for address in [format!("{FAR4}/24"), format!("{FAR6}/64 nodad")] {
        far.ip(&format!("addr add dev eth0 {address}"))?;
    }
    router.ip("link set far0 up")?;
    far.ip("link set eth0 up")?;
    router.ip(&format!("link set far0 mtu {MTU}"))?;
    far.ip("route add default via 10.104.0.1")?;
    far.ip("-6 route add default via fd65:4::1")?;
    router.set_sysctl("net/ipv4/ip_forward", "1")?;
    router.set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
    lab.lb.ip("route add 10.104.0.0/24 via 10.101.0.2")?;
    lab.lb.ip("-6 route add fd65:4::/64 via fd65:1::2")?;
    Ok(far)
}
