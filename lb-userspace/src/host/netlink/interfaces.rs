//! The host's network interfaces.

use std::collections::BTreeSet;

use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoPortKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    VlanProtocol,
};

use super::connection::{Netlink, collect};
use crate::host::error::HostError;

/// An interface of this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// Its VLAN, if it is a VLAN device.
    pub vlan: Option<Vlan>,
    /// The bond or team that it is a port of, by index.
    pub bond: Option<u32>,
    /// The bridge that it is a port of, by index.
    pub bridge: Option<u32>,
    /// The lower device that it shares with others of its kind (macvlan, ipvlan), by index.
    pub shares: Option<u32>,
    pub loopback: bool,
}

/// The parent's index, which may be a VLAN device itself, and the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    pub parent: u32,
    pub id: u16,
    /// 802.1ad; otherwise 802.1Q.
    pub service_tag: bool,
}

/// A VLAN device with all devices below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceStack {
    pub index: u32,
    pub name: String,
    /// The interface at the bottom, by index.
    pub ground: u32,
    /// The tags, the outermost first.
    pub tags: Vec<Vlan>,
}

/// Returns every VLAN device among `interfaces`, with all its tags.
#[must_use]
pub fn stacks(interfaces: &[Interface]) -> Vec<InterfaceStack> {
    let by_index = |index| interfaces.iter().find(|interface| interface.index == index);
    let stack = |interface: &Interface| {
        let mut vlan = interface.vlan?;
        let mut tags = vec![vlan];
        while let Some(below) = by_index(vlan.parent).and_then(|parent| parent.vlan) {
            // Indices of another namespace could form a cycle.
            if tags.len() > interfaces.len() {
                return None;
            }
            tags.insert(0, below);
            vlan = below;
        }
        let name = interface.name.clone();
        Some(InterfaceStack { index: interface.index, name, ground: vlan.parent, tags })
    };
    interfaces.iter().filter_map(stack).collect()
}

/// Returns the interfaces at which the kernel sees packets that arrive at those `of` which the
/// index is given: they themselves, the bridge or bond that they are ports of, and all devices
/// stacked on these.
#[must_use]
pub fn around(interfaces: &[Interface], of: impl IntoIterator<Item = u32>) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> = of.into_iter().collect();
    loop {
        let new: Vec<u32> = interfaces
            .iter()
            .flat_map(|it| {
                let above = it.bridge.or(it.bond).filter(|_| found.contains(&it.index));
                let below = it.vlan.map(|vlan| vlan.parent).or(it.shares);
                let stands = below.is_some_and(|below| found.contains(&below));
                above.into_iter().chain(stands.then_some(it.index))
            })
            .collect();
        let before = found.len();
        found.extend(new);
        if found.len() == before {
            return found;
        }
    }
}

/// Returns whether packets that arrive at the interface `index` pass one that `is_watched`: itself,
/// or one below it. One port of a bridge is enough: it is unknown which port the others are behind.
#[must_use]
pub fn passes(
    interfaces: &[Interface],
    index: u32,
    is_watched: &dyn Fn(&Interface) -> bool,
) -> bool {
    /// The deepest stack of devices: more than anybody has.
    const DEEPEST: u32 = 8;
    passes_within(interfaces, index, is_watched, DEEPEST)
}

fn passes_within(
    interfaces: &[Interface],
    index: u32,
    is_watched: &dyn Fn(&Interface) -> bool,
    depth: u32,
) -> bool {
    // The interface is in another namespace: nothing is known of it.
    let Some(interface) = interfaces.iter().find(|it| it.index == index) else { return true };
    let Some(depth) = depth.checked_sub(1) else { return false };
    let ports = interfaces.iter().filter(|it| it.bridge == Some(index) || it.bond == Some(index));
    let parent = interface.vlan.map(|vlan| vlan.parent).or(interface.shares).or(interface.bond);
    let mut below = ports.map(|port| port.index).filter(|&port| port != index).chain(parent);
    is_watched(interface) || below.any(|index| passes_within(interfaces, index, is_watched, depth))
}

impl Netlink {
    /// Returns all interfaces, ordered by index.
    pub(crate) async fn interfaces(&self) -> Result<Vec<Interface>, HostError> {
        let links = collect(self.handle.link().get().execute()).await;
        let links = links.map_err(|error| HostError::netlink("list the interfaces", &error))?;
        let mut found: Vec<Interface> = links.iter().filter_map(describe).collect();
        found.sort_by_key(|interface| interface.index);
        Ok(found)
    }
}

/// Returns the error that lists the existing interfaces.
pub(crate) fn unknown(name: &str, all: &[Interface]) -> HostError {
    let existing: Vec<&str> = all.iter().map(|interface| interface.name.as_str()).collect();
    HostError::UnknownInterface { name: name.to_owned(), existing: existing.join(", ") }
}

fn describe(link: &LinkMessage) -> Option<Interface> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let loopback = link.header.flags.contains(LinkFlags::Loopback);
    let bond = controller(link, &[InfoPortKind::Bond, InfoPortKind::Team]);
    let bridge = controller(link, &[InfoPortKind::Bridge]);
    let (index, vlan, shares) = (link.header.index, vlan(link), shares(link));
    Some(Interface { index, name, vlan, bond, bridge, shares, loopback })
}

/// Returns the index of its controller, if that is of one of these kinds.
fn controller(link: &LinkMessage, kinds: &[InfoPortKind]) -> Option<u32> {
    let is_meant =
        |info: &LinkInfo| matches!(info, LinkInfo::PortKind(kind) if kinds.contains(kind));
    let mut controller = None;
    let mut meant = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Controller(index) => controller = Some(*index),
            LinkAttribute::LinkInfo(infos) => meant = infos.iter().any(is_meant),
            _ => {}
        }
    }
    controller.filter(|_| meant)
}

fn shares(link: &LinkMessage) -> Option<u32> {
    let is_meant = |info: &LinkInfo| {
        let LinkInfo::Kind(kind) = info else { return false };
        matches!(kind, InfoKind::MacVlan | InfoKind::MacVtap | InfoKind::IpVlan | InfoKind::IpVtap)
    };
    let mut lower = None;
    let mut meant = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Link(index) => lower = Some(*index),
            LinkAttribute::LinkInfo(infos) => meant = infos.iter().any(is_meant),
            _ => {}
        }
    }
    lower.filter(|_| meant)
}

fn vlan(link: &LinkMessage) -> Option<Vlan> {
    let mut parent = None;
    let mut tag = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::LinkInfo(infos) => tag = infos.iter().find_map(vlan_tag),
            _ => {}
        }
    }
    let (id, service_tag) = tag?;
    Some(Vlan { parent: parent?, id, service_tag })
}

fn vlan_tag(info: &LinkInfo) -> Option<(u16, bool)> {
    let LinkInfo::Data(InfoData::Vlan(details)) = info else {
        return None;
    };
    let id = details.iter().find_map(|detail| match detail {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    });
    let service = InfoVlan::Protocol(VlanProtocol::Ieee8021Ad);
    Some((id?, details.contains(&service)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_device_names_its_parent_and_tag() {
        let mut link = LinkMessage::default();
        link.header.index = 7;
        link.attributes = vec![
            LinkAttribute::IfName("uplink.42".to_owned()),
            LinkAttribute::Link(3),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(42)])),
            ]),
        ];
        let vlan = describe(&link).and_then(|interface| interface.vlan);
        assert_eq!(vlan, Some(Vlan { parent: 3, id: 42, service_tag: false }));
        link.attributes[2] = LinkAttribute::LinkInfo(vec![LinkInfo::Data(InfoData::Vlan(vec![
            InfoVlan::Id(7),
            InfoVlan::Protocol(VlanProtocol::Ieee8021Ad),
        ]))]);
        let vlan = describe(&link).and_then(|interface| interface.vlan);
        assert_eq!(vlan, Some(Vlan { parent: 3, id: 7, service_tag: true }));
        // Other devices have a link attribute, too: a veth has its peer's.
        link.attributes.pop();
        assert_eq!(describe(&link).and_then(|interface| interface.vlan), None);
    }

    #[test]
    fn a_port_names_its_bond() {
        let port = |kind| {
            let mut link = LinkMessage::default();
            link.attributes = vec![
                LinkAttribute::IfName("eth1".to_owned()),
                LinkAttribute::Controller(9),
                LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(kind)]),
            ];
            describe(&link).and_then(|interface| interface.bond)
        };
        assert_eq!(port(InfoPortKind::Bond), Some(9));
        assert_eq!(port(InfoPortKind::Team), Some(9));
        assert_eq!(port(InfoPortKind::Bridge), None);
    }

    #[test]
    fn around_an_interface_is_what_sees_its_frames() {
        let device =
            |index, bridge, shares| Interface { index, bridge, shares, ..Interface::default() };
        let vlan = Some(Vlan { parent: 3, id: 7, service_tag: false });
        let interfaces = [
            device(1, None, None),
            device(2, Some(5), None),
            device(3, None, Some(5)),
            Interface { vlan, ..device(4, None, None) },
            device(5, None, None),
            device(6, Some(5), None),
            device(7, None, Some(1)),
        ];
        assert_eq!(around(&interfaces, [2]), [2, 3, 4, 5].into());
        assert_eq!(around(&interfaces, [1]), [1, 7].into());
        assert_eq!(around(&interfaces, []), [].into());
        let circle = [device(1, None, Some(2)), device(2, None, Some(1))];
        assert_eq!(around(&circle, [1]), [1, 2].into());
    }

    #[test]
    fn what_stands_on_a_watched_interface_is_watched() {
        let device = |index, name: &str| Interface {
            index,
            name: name.to_owned(),
            vlan: None,
            bond: None,
            bridge: None,
            shares: None,
            loopback: false,
        };
        let interfaces = [
            device(1, "up"),
            device(2, "down"),
            Interface {
                vlan: Some(Vlan { parent: 1, id: 7, service_tag: false }),
                ..device(3, "up.7")
            },
            Interface { shares: Some(3), ..device(4, "macvlan on up.7") },
            Interface { bridge: Some(6), ..device(5, "port") },
            device(6, "br0"),
            Interface { bridge: Some(6), ..device(7, "other port") },
            Interface { bond: Some(9), ..device(8, "bonded") },
            device(9, "bond0"),
            // Indices of other namespaces could form a cycle.
            Interface { shares: Some(11), ..device(10, "a") },
            Interface { shares: Some(10), ..device(11, "b") },
        ];
        let seen = |watched: &[u32]| -> Vec<u32> {
            let is_watched = |it: &Interface| watched.contains(&it.index);
            let all = interfaces.iter().map(|it| it.index);
            all.filter(|&index| passes(&interfaces, index, &is_watched)).collect()
        };
        assert_eq!(seen(&[1]), [1, 3, 4]);
        assert_eq!(seen(&[5]), [5, 6]);
        assert_eq!(seen(&[9]), [8, 9]);
        assert!(seen(&[]).is_empty());
        assert!(passes(&interfaces, 99, &|_| false), "who knows");
    }

    #[test]
    fn stacked_devices_have_the_outermost_tag_first() {
        let device = |index, vlan: Option<Vlan>| Interface {
            index,
            name: format!("e{index}"),
            vlan,
            ..Interface::default()
        };
        let tag = |parent, id| Some(Vlan { parent, id, service_tag: id == 100 });
        let found = stacks(&[
            device(1, None),
            device(2, tag(1, 100)),
            device(3, tag(2, 200)),
            device(4, tag(1, 5)),
            device(5, tag(3, 6)),
            device(6, tag(99, 7)),
            device(7, tag(8, 8)),
            device(8, tag(7, 9)),
        ]);
        let found = found.iter().map(|stack| {
            (stack.index, stack.ground, stack.tags.iter().map(|tag| tag.id).collect::<Vec<_>>())
        });
        let expected = [
            (2, 1, vec![100]),
            (3, 1, vec![100, 200]),
            (4, 1, vec![5]),
            (5, 1, vec![100, 200, 6]),
            // Its parent is in another namespace.
            (6, 99, vec![7]),
        ];
        assert!(found.eq(expected));
    }
}
