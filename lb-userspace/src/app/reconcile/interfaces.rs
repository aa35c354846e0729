//! The interfaces that packets come in by: those that match the configuration now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::anyhow;
use arc_swap::ArcSwap;
use tracing::{info, warn};

use crate::{
    admin::InterfaceStatus,
    datapath::Kernel,
    host::{Interface, around},
    settings::{InterfacePattern, Node, XdpMode},
};

/// What `lb status` shows of the interfaces.
pub(crate) type Shown = Arc<ArcSwap<Vec<InterfaceStatus>>>;

pub(crate) struct Interfaces {
    patterns: Vec<InterfacePattern>,
    pub(crate) mode: XdpMode,
    /// Names of interfaces that carry the program, by index.
    attached: BTreeMap<u32, String>,
    /// Names of the ports of bonds among them.
    ports: BTreeSet<String>,
    /// Interfaces that refuse the program, and why, as last reported.
    refused: BTreeMap<u32, String>,
    shown: Shown,
}

impl Interfaces {
    pub(crate) fn new(node: &Node) -> Self {
        Self {
            patterns: node.interfaces.clone(),
            mode: node.xdp,
            attached: BTreeMap::new(),
            ports: BTreeSet::new(),
            refused: BTreeMap::new(),
            shown: Shown::default(),
        }
    }

    /// Attaches the program to all matching interfaces.
    ///
    /// An interface that is configured by its name may still appear: a warning says that it is
    /// missing. If no interface matches at all, the configuration is more likely wrong.
    ///
    /// # Errors
    ///
    /// No interface matches, or one of them refuses the program.
    pub(crate) fn begin(
        &mut self,
        kernel: &mut Kernel,
        present: &[Interface],
    ) -> anyhow::Result<()> {
        let wanted = self.wanted(present);
        self.warn_missing(present);
        if wanted.is_empty() {
            return Err(self.none_matches(present));
        }
        for (index, name) in wanted {
            kernel.attach(&name, self.mode)?;
            self.attached.insert(index, name);
        }
        self.ports = self.ports(present);
        self.show(kernel);
        Ok(())
    }

    /// Wants other interfaces from the next [`follow`](Self::follow) on.
    ///
    /// # Errors
    ///
    /// No interface matches: the patterns stay as they were.
    pub(crate) fn configure(
        &mut self,
        patterns: &[InterfacePattern],
        present: &[Interface],
    ) -> anyhow::Result<()> {
        let before = std::mem::replace(&mut self.patterns, patterns.to_vec());
        if self.wanted(present).is_empty() {
            let refusal = self.none_matches(present);
            self.patterns = before;
            return Err(refusal);
        }
        self.warn_missing(present);
        Ok(())
    }

    /// Follows interfaces that appeared, vanished or were renamed. Returns whether any did, or a
    /// bond has other ports.
    pub(crate) fn follow(&mut self, kernel: &mut Kernel, present: &[Interface]) -> bool {
        let mut wanted = self.wanted(present);
        let before = self.attached.clone();
        self.attached.retain(|&index, name| match wanted.remove(&index) {
            Some(new) => {
                if *name != new {
                    info!(interface = new, was = name, "an interface was renamed");
                    kernel.rename(index, &new);
                    *name = new;
                }
                true
            }
            None => {
                kernel.detach_interface(index);
                match present.iter().any(|interface| interface.index == index) {
                    true => info!(interface = name, "lb is no longer on this interface"),
                    false => info!(interface = name, "an interface is gone"),
                }
                false
            }
        });
        self.refused.retain(|index, _| wanted.contains_key(index));
        for (index, name) in wanted {
            self.attach_new(kernel, index, name);
        }
        let changed = self.attached != before;
        if changed {
            self.show(kernel);
        }
        let ports = self.ports(present);
        let others = std::mem::replace(&mut self.ports, ports) != self.ports;
        changed || others
    }

    fn warn_missing(&self, present: &[Interface]) {
        for pattern in &self.patterns {
            if !present.iter().any(|interface| pattern.matches(&interface.name)) {
                warn!(interface = %pattern, "is not there yet; lb attaches to it when it appears");
            }
        }
    }

    fn none_matches(&self, present: &[Interface]) -> anyhow::Error {
        let patterns: Vec<_> = self.patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
        let names: Vec<_> = present.iter().map(|interface| &*interface.name).collect();
        anyhow!(
            "no interface matches [node] interfaces ({}); this host has: {}",
            patterns.join(", "),
            names.join(", ")
        )
    }

    fn ports(&self, present: &[Interface]) -> BTreeSet<String> {
        let ours = |interface: &&Interface| {
            interface.bond.is_some_and(|bond| self.attached.contains_key(&bond))
        };
        present.iter().filter(ours).map(|interface| interface.name.clone()).collect()
    }

    /// Attaches to a new interface. A refusal is reported once and tried again at every look.
    fn attach_new(&mut self, kernel: &mut Kernel, index: u32, name: String) {
        let Err(error) = kernel.attach(&name, self.mode) else {
            self.refused.remove(&index);
            self.attached.insert(index, name);
            return;
        };
        let why = error.to_string();
        if self.refused.get(&index) != Some(&why) {
            warn!(interface = name, why, "cannot attach to this interface");
            self.refused.insert(index, why);
        }
    }

    /// Returns the names of the interfaces that carry the program, in the order of the
    /// configuration.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.attached.values().map(String::as_str).collect();
        names.sort_by_key(|name| (self.place(name), *name));
        names
    }

    /// Returns the interfaces that the kernel may attribute the packets to.
    pub(crate) fn around<'a>(&self, present: &'a [Interface]) -> Vec<&'a Interface> {
        let around = around(present, self.attached.keys().copied());
        present.iter().filter(|interface| around.contains(&interface.index)).collect()
    }

    /// Returns the position of the pattern that matches an interface.
    fn place(&self, name: &str) -> Option<usize> {
        self.patterns.iter().position(|pattern| pattern.matches(name))
    }

    /// Returns the names of the interfaces that packets come in by as the program sees it. A native
    /// program on a bond runs at its ports, and looks up routes from there.
    pub(crate) fn ingress_names(&self) -> Vec<&str> {
        let ports = self.ports.iter().map(String::as_str);
        self.names().into_iter().chain(ports).collect()
    }

    /// Returns whether an interface carries the program.
    pub(crate) fn has(&self, interface: &Interface) -> bool {
        self.attached.contains_key(&interface.index)
    }

    pub(crate) fn shown(&self) -> Shown {
        self.shown.clone()
    }

    pub(crate) fn show(&self, kernel: &Kernel) {
        let mut shown: Vec<_> = kernel
            .attached()
            .map(|(name, mode)| InterfaceStatus { name: name.to_owned(), mode: mode.to_owned() })
            .collect();
        shown.sort_by(|a, b| (self.place(&a.name), &a.name).cmp(&(self.place(&b.name), &b.name)));
        self.shown.store(Arc::new(shown));
    }

    fn wanted(&self, present: &[Interface]) -> BTreeMap<u32, String> {
        let wanted = present.iter().filter(|interface| self.wants(interface));
        wanted.map(|interface| (interface.index, interface.name.clone())).collect()
    }

    /// Returns whether the program belongs on an interface. A pattern skips interfaces that see the
    /// same frames as another one: VLAN devices, whose parent shows the frames with their tags, and
    /// the ports of a bond.
    fn wants(&self, interface: &Interface) -> bool {
        let beside = interface.vlan.is_some() || interface.bond.is_some() || interface.loopback;
        let mut patterns = self.patterns.iter();
        patterns.any(|pattern| pattern.matches(&interface.name) && (pattern.is_name() || !beside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Vlan;

    fn interface(name: &str) -> Interface {
        Interface { index: 7, name: name.to_owned(), ..Interface::default() }
    }

    fn uplinks<const N: usize>(patterns: [&str; N]) -> Interfaces {
        Interfaces {
            patterns: patterns.map(InterfacePattern::new).to_vec(),
            mode: XdpMode::Auto,
            attached: BTreeMap::new(),
            ports: BTreeSet::new(),
            refused: BTreeMap::new(),
            shown: Shown::default(),
        }
    }

    /// Not of their indices, which change when one comes again.
    #[test]
    fn they_are_named_in_the_order_of_the_configuration() {
        let mut uplinks = uplinks(["up0", "down*"]);
        let attached = [(3, "down1"), (4, "down0"), (7, "up0")];
        uplinks.attached = attached.map(|(index, name)| (index, name.to_owned())).into();
        assert_eq!(uplinks.names(), ["up0", "down0", "down1"]);
    }

    #[test]
    fn a_pattern_passes_over_what_another_stands_for() {
        let uplinks = uplinks(["eth*", "lo*", "bond0.7"]);
        let vlan = Some(Vlan { parent: 1, id: 7, service_tag: false });
        assert!(uplinks.wants(&interface("eth0")));
        assert!(!uplinks.wants(&interface("down0")));
        assert!(!uplinks.wants(&Interface { vlan, ..interface("eth0.7") }));
        assert!(!uplinks.wants(&Interface { bond: Some(9), ..interface("eth1") }));
        assert!(!uplinks.wants(&Interface { loopback: true, ..interface("lo") }));
        assert!(uplinks.wants(&Interface { vlan, ..interface("bond0.7") }), "by its name");
    }
}
