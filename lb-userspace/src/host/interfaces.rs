//! The host's network interfaces.

use rtnetlink::packet_route::link::{
    InfoData, InfoPortKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::{Host, HostError, netlink::collect};

/// One interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// Where it is an 802.1Q device.
    pub vlan: Option<Vlan>,
    /// Whether it is a port of a bond or a team.
    pub bonded: bool,
    pub loopback: bool,
}

/// The parent's index and the 802.1Q id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    pub parent: u32,
    pub id: u16,
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
    let (vlan, bonded) = (vlan(link), is_bonded(link));
    Some(Interface { index: link.header.index, name, vlan, bonded, loopback })
}

fn is_bonded(link: &LinkMessage) -> bool {
    let bonded = |info: &LinkInfo| {
        matches!(info, LinkInfo::PortKind(InfoPortKind::Bond | InfoPortKind::Team))
    };
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().any(bonded),
        _ => false,
    })
}

fn vlan(link: &LinkMessage) -> Option<Vlan> {
    let mut parent = None;
    let mut id = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::LinkInfo(infos) => id = infos.iter().find_map(vlan_id),
            _ => {}
        }
    }
    Some(Vlan { parent: parent?, id: id? })
}

fn vlan_id(info: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(InfoData::Vlan(details)) = info else {
        return None;
    };
    details.iter().find_map(|detail| match detail {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })
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
        assert_eq!(vlan, Some(Vlan { parent: 3, id: 42 }));
        // Other devices name a lower one, too: a veth its peer.
        link.attributes.pop();
        assert_eq!(describe(&link).and_then(|interface| interface.vlan), None);
    }
}
