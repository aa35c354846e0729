//! Detects and repairs what somebody else removed from the running data path: pins in the bpffs,
//! programs on interfaces, the lookup of the listeners. The daemon still holds all of it and puts
//! it back.

use std::{fmt, os::fd::AsFd as _, path::PathBuf};

use super::{
    attachment::{self, Attachment},
    kernel::{Kernel, PinnedNames},
};
use crate::datapath::{
    bpf::{
        error::DatapathError,
        ifindex,
        link::{LinkTarget, open_pinned},
    },
    persist::{
        file_identity::{FileIdentity, NamedMap},
        load_share::PERMITS,
        seed::SEED,
    },
};
use crate::settings::XdpMode;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The program at the interface with this index.
    Program {
        index: u32,
        interface: String,
    },
    /// The lookup that directs connections to the proxy.
    Listeners,
    /// The pin of a map, of an interface's link, or of the listeners' link.
    MapName(PathBuf),
    LinkName(PathBuf),
    ListenersName(PathBuf),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program { interface, .. } => write!(f, "{interface}"),
            Self::Listeners => write!(f, "sk_lookup"),
            Self::MapName(path) | Self::LinkName(path) | Self::ListenersName(path) => {
                write!(f, "{}", path.display())
            }
        }
    }
}

impl Kernel {
    /// Returns what is missing. Programs come before pins.
    #[must_use]
    pub fn damage(&self) -> Vec<Damage> {
        let mut found = Vec::new();
        let ours = || self.attached.iter().filter(|attachment| attachment.current);
        for Attachment { interface, index, link, .. } in ours() {
            let gone = matches!(link.target(), Ok(LinkTarget::Interface(0)));
            // If the interface itself is gone, it is detached elsewhere.
            if gone && ifindex::interface_name(*index).is_some() {
                found.push(Damage::Program { index: *index, interface: interface.clone() });
            }
        }
        let listening = self.listening.as_ref().filter(|listening| listening.current);
        if listening.is_some_and(|it| matches!(it.link.target(), Ok(LinkTarget::Namespace(0)))) {
            found.push(Damage::Listeners);
        }
        let Some(names) = self.names.as_ref().filter(|names| names.taken_over) else {
            return found;
        };
        let maps = names.maps_directory();
        let map_names = names.named.iter().map(|it| (maps.join(&it.name), it.identity));
        let lost = |(path, identity): &(PathBuf, Option<FileIdentity>)| {
            FileIdentity::of(path) != *identity
        };
        found.extend(map_names.filter(lost).map(|(path, _)| Damage::MapName(path)));
        let links = ours().filter_map(|it| Some((it.name.clone()?, it.identity)));
        found.extend(links.filter(lost).map(|(path, _)| Damage::LinkName(path)));
        let path = names.pins.listeners_path();
        if listening.is_some_and(|it| FileIdentity::of(&path) != it.identity) {
            found.push(Damage::ListenersName(path));
        }
        found
    }

    /// Repairs one damage. `mode` is that of a program.
    ///
    /// # Errors
    ///
    /// The interface carries another program, the kernel or the bpffs refuses, or another daemon
    /// has taken the directory.
    pub fn repair(&mut self, damage: &Damage, mode: XdpMode) -> Result<(), DatapathError> {
        match damage {
            Damage::Program { index, interface } => self.attach_again(*index, interface, mode),
            Damage::Listeners => {
                self.listening = Some(attachment::attach_lookup(self.lookup()?.as_fd())?);
                self.name_listeners()
            }
            Damage::MapName(path) => {
                let Some(names) = &mut self.names else { return Ok(()) };
                names.pins.renew()?;
                let named = names.named.iter_mut();
                named.filter(|it| path.ends_with(&it.name)).try_for_each(|it| {
                    names.pins.pin_map(&it.name, it.map.as_fd())?;
                    it.identity = FileIdentity::of(path);
                    Ok(())
                })
            }
            Damage::LinkName(path) => {
                let Some(names) = &mut self.names else { return Ok(()) };
                names.pins.renew()?;
                let mut attached = self.attached.iter_mut();
                let Some(attachment) = attached.find(|it| it.name.as_ref() == Some(path)) else {
                    return Ok(());
                };
                attachment.name = None;
                let named = names.name(attachment);
                // The expected name, for the next check.
                attachment.name.get_or_insert_with(|| path.clone());
                named
            }
            Damage::ListenersName(_) => self.name_listeners(),
        }
    }

    fn attach_again(
        &mut self,
        index: u32,
        interface: &str,
        mode: XdpMode,
    ) -> Result<(), DatapathError> {
        let program = self.balancer()?;
        let mut new = attachment::attach_xdp(program.as_fd(), interface, index, mode)?;
        if let Some(names) = self.names.as_mut().filter(|names| names.taken_over) {
            names.pins.renew()?;
            names.name(&mut new)?;
        }
        self.attached.retain(|attachment| attachment.index != index);
        self.attached.push(new);
        Ok(())
    }

    fn name_listeners(&mut self) -> Result<(), DatapathError> {
        let names = self.names.as_mut().filter(|names| names.taken_over);
        let (Some(names), Some(listening)) = (names, &mut self.listening) else {
            return Ok(());
        };
        names.pins.renew()?;
        names.pins.pin_listeners(&listening.link)?;
        listening.identity = FileIdentity::of(&names.pins.listeners_path());
        Ok(())
    }
}

impl PinnedNames {
    fn maps_directory(&self) -> PathBuf {
        self.pins.maps()
    }

    /// Opens and holds every map that is pinned now.
    ///
    /// # Errors
    ///
    /// A map cannot be opened.
    pub(crate) fn hold_maps(&mut self) -> Result<(), DatapathError> {
        let directory = self.maps_directory();
        let names = self.maps.iter().map(String::as_str).chain([PERMITS, SEED]);
        let hold = |name: &str| {
            let path = directory.join(name);
            let map = open_pinned(&path)
                .map_err(|source| DatapathError::pins("opened", &path, source))?;
            Ok(NamedMap { name: name.to_owned(), map, identity: FileIdentity::of(&path) })
        };
        self.named = names.map(hold).collect::<Result<_, DatapathError>>()?;
        Ok(())
    }
}
