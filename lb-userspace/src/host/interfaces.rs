//! The host's network interfaces.

use rtnetlink::packet_route::link::{
    InfoData, InfoPortKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VlanProtocol,
};

use super::{Host, HostError, netlink::collect};

/// One interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// Where it is a VLAN device.
    pub vlan: Option<Vlan>,
    /// The bond or team that it is a port of, by index.
    pub bond: Option<u32>,
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

/// A VLAN device down to an interface that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    pub index: u32,
    pub name: String,
    /// What it all stands on, by index.
    pub ground: u32,
    /// The outermost first.
    pub tags: Vec<Vlan>,
}

/// Every VLAN device among `interfaces`, with all its tags.
#[must_use]
pub fn stacks(interfaces: &[Interface]) -> Vec<Stack> {
    let by_index = |index| interfaces.iter().find(|interface| interface.index == index);
    let stack = |interface: &Interface| {
        let mut vlan = interface.vlan?;
        let mut tags = vec![vlan];
        while let Some(below) = by_index(vlan.parent).and_then(|parent| parent.vlan) {
            // Indices of another namespace may make a circle.
            if tags.len() > interfaces.len() {
                return None;
            }
            tags.insert(0, below);
            vlan = below;
        }
        let name = interface.name.clone();
        Some(Stack { index: interface.index, name, ground: vlan.parent, tags })
    };
    interfaces.iter().filter_map(stack).collect()
}

impl Host {
    /// All interfaces, in the order of their index.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, HostError> {
        let links = collect(self.netlink.handle.link().get().execute()).await;
        let links = links.map_err(|error| HostError::netlink("list the interfaces", &error))?;
        let mut found: Vec<Interface> = links.iter().filter_map(describe).collect();
        found.sort_by_key(|interface| interface.index);
        Ok(found)
    }

    /// The interface of each name, in their order.
    ///
    /// # Errors
    ///
    /// One does not exist; the message lists those that do.
    pub async fn find_interfaces(
        &self,
        names: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Vec<Interface>, HostError> {
        let all = self.interfaces().await?;
        let find = |name: &str| {
            let found = all.iter().find(|interface| interface.name == name);
            found.cloned().ok_or_else(|| unknown(name, &all))
        };
        names.into_iter().map(|name| find(name.as_ref())).collect()
    }
}

fn unknown(name: &str, all: &[Interface]) -> HostError {
    let existing: Vec<&str> = all.iter().map(|interface| interface.name.as_str()).collect();
    HostError::UnknownInterface { name: name.to_owned(), existing: existing.join(", ") }
}

fn describe(link: &LinkMessage) -> Option<Interface> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let loopback = link.header.flags.contains(LinkFlags::Loopback);
    let (vlan, bond) = (vlan(link), bond(link));
    Some(Interface { index: link.header.index, name, vlan, bond, loopback })
}

/// Bridges have ports as well.
fn bond(link: &LinkMessage) -> Option<u32> {
    let is_bonded = |info: &LinkInfo| {
        matches!(info, LinkInfo::PortKind(InfoPortKind::Bond | InfoPortKind::Team))
    };
    let mut controller = None;
    let mut bonded = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Controller(index) => controller = Some(*index),
            LinkAttribute::LinkInfo(infos) => bonded = infos.iter().any(is_bonded),
            _ => {}
        }
    }
    controller.filter(|_| bonded)
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
    use rtnetlink::packet_route::link::InfoKind;

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
        // Other devices name a lower one, too: a veth its peer.
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
    fn stacked_devices_have_the_outermost_tag_first() {
        let device = |index, vlan: Option<Vlan>| Interface {
            index,
            name: format!("e{index}"),
            vlan,
            bond: None,
            loopback: false,
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
            // Its parent is not here: a device of another namespace.
            (6, 99, vec![7]),
        ];
        assert!(found.eq(expected));
    }
}
