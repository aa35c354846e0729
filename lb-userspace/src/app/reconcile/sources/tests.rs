use super::*;
use crate::config;

const WAY: SourceRoute = SourceRoute {
    interface: 2,
    next_hop: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 11)),
    source: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn sources(node: &str) -> Sources {
    let text = format!("[node]\ninterfaces = ['eth0']\nsource_ports = '4000-4099'\n{node}");
    let config = config::parse(std::path::Path::new("lb.toml"), &text);
    let node = config.unwrap_or_else(|errors| panic!("{errors}")).node;
    Sources::new(&node, [ip("10.0.0.3")].into())
}

fn local(address: &str, interface: u32, may_share: bool) -> LocalAddress {
    LocalAddress { address: ip(address), interface, prefix: 24, is_source: may_share, may_share }
}

fn locals() -> Vec<LocalAddress> {
    vec![
        local("10.0.0.1", 2, true),
        local("10.0.0.2", 2, true),
        local("10.0.0.3", 2, true),
        local("10.0.0.4", 2, false),
        local("10.9.0.1", 3, true),
        local("fd00::1", 2, true),
    ]
}

fn placed(sources: &Sources, source: Source) -> Vec<IpAddr> {
    match source.count {
        1 => vec![source.address],
        count => sources.pool.addresses()[source.pool as usize..][..count as usize].to_vec(),
    }
}

fn chosen(node: &str, server: &str, way: &SourceRoute) -> Option<Vec<IpAddr>> {
    let mut sources = sources(node);
    let source = sources.choose(ip(server), way, &locals())?;
    assert_eq!(source.ends, 100 * source.count);
    Some(placed(&sources, source))
}

#[test]
fn routing_says_which_where_nobody_else_does() {
    assert_eq!(chosen("", "10.0.0.11", &WAY), Some(vec![ip("10.0.0.1")]));
}

#[test]
fn all_that_are_next_to_the_server_take_turns() {
    let node = "source_addresses = 'interface'";
    let both = ["10.0.0.1", "10.0.0.2"].map(ip).to_vec();
    assert_eq!(chosen(node, "10.0.0.11", &WAY), Some(both));
    let said = SourceRoute { source: ip("10.9.0.1"), ..WAY };
    assert_eq!(chosen(node, "10.0.0.11", &said), Some(vec![ip("10.9.0.1")]));
}

#[test]
fn those_that_are_named_take_turns_while_they_are_here() {
    let node = "source_addresses = ['10.9.0.1', '10.0.0.4', '10.0.0.77']";
    let here = ["10.9.0.1", "10.0.0.4"].map(ip).to_vec();
    assert_eq!(chosen(node, "10.0.0.11", &WAY), Some(here));
    assert_eq!(chosen("source_addresses = ['10.0.0.77']", "10.0.0.11", &WAY), None);
    let v6 = SourceRoute { source: ip("fd00::1"), next_hop: ip("fd00::11"), ..WAY };
    assert_eq!(chosen(node, "fd00::11", &v6), Some(vec![ip("fd00::1")]), "by routing");
}

#[test]
fn the_same_addresses_have_one_place_until_there_is_none() {
    let mut pool = SourcePool::default();
    let addresses = |n: u8| [ip("10.0.0.1"), [10, 0, 1, n].into()];
    assert_eq!(pool.place(&addresses(1)), Some(0));
    assert_eq!(pool.place(&addresses(2)), Some(2));
    assert_eq!(pool.place(&addresses(1)), Some(0));
    let more = (0..=u16::MAX)
        .map(|n| pool.place(&[ip("10.0.0.1"), [10, 1, (n >> 8) as u8, n as u8].into()]));
    assert_eq!(more.take_while(Option::is_some).count(), 2046);
    assert_eq!(pool.addresses().len(), 4096);
}

#[test]
fn addresses_that_are_nowhere_are_told() {
    let told = |node: &str| {
        let wanted = sources(node).wanted;
        warnings(&wanted, &locals())
    };
    assert!(told("").is_empty());
    assert!(told("source_addresses = 'interface'").is_empty());
    assert!(told("source_addresses = ['10.0.0.2', '10.9.0.1', 'fd00::1']").is_empty());
    let some = told("source_addresses = ['10.0.0.2', '10.0.0.9', 'fd00::9']");
    assert!(some[0].contains("10.0.0.9") && some[0].contains("left out"), "{some:?}");
    assert!(some[1].contains("fd00::9") && some[1].contains("IPv6 servers"), "{some:?}");
    assert_eq!(some.len(), 2);
}
