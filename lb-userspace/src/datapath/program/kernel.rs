//! The loaded programs and their attachments.

use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd};

use aya::{
    maps::{MapData, SockMap},
    programs::ProgramFd,
};
use lb_common::abi::{maps, programs};
use tracing::info;

use super::attachment::{self, Attachment, LookupAttachment};
use crate::datapath::{
    bpf::{
        error::DatapathError,
        ifindex,
        link::LinkTarget,
        programs::{Programs, lock, sk_lookup, take_map, xdp},
        test_run::{self, TestRun},
    },
    explain::Tracer,
    persist::{
        file_identity::{FileIdentity, NamedMap},
        load_share::PERMITS,
        pins::{PinnedXdp, Pins},
        seed::SEED,
    },
};
use crate::settings::XdpMode;

/// The loaded programs and their attachments.
///
/// With a directory of [`Pins`] the data path has two parts until [`take_over`]: what an earlier
/// daemon left, which keeps running as it is, and this daemon's.
///
/// [`take_over`]: Self::take_over
pub struct Kernel {
    pub(crate) programs: Programs,
    /// Attached instead of the balancer while tracing: the same program, which also reports each
    /// packet.
    tracer: Option<Tracer>,
    listeners: SockMap<MapData>,
    pub(crate) attached: Vec<Attachment>,
    pub(crate) listening: Option<LookupAttachment>,
    pub(crate) names: Option<PinnedNames>,
}

/// What is pinned in the bpffs, and what is to be pinned there.
pub(crate) struct PinnedNames {
    pub(crate) pins: Pins,
    /// Interfaces of an earlier daemon that were not requested yet.
    pub(crate) left: Vec<PinnedXdp>,
    /// Maps that are not pinned yet.
    pub(crate) unnamed: Vec<(String, OwnedFd)>,
    /// The names of all maps of the object.
    pub(crate) maps: Vec<String>,
    /// Filled once all maps are pinned.
    pub(crate) named: Vec<NamedMap>,
    pub(crate) taken_over: bool,
}

impl Kernel {
    pub(crate) fn new(
        programs: Programs,
        names: Option<PinnedNames>,
    ) -> Result<Self, DatapathError> {
        let listeners = take_map(&mut lock(&programs), maps::LISTENERS)?;
        let listeners = SockMap::try_from(listeners)
            .map_err(|_| DatapathError::MapKind { name: maps::LISTENERS })?;
        Ok(Self { programs, tracer: None, listeners, attached: Vec::new(), listening: None, names })
    }

    /// Attaches the program to `interface`. Where an earlier daemon's program is attached, that one
    /// stays until [`take_over`](Self::take_over).
    ///
    /// # Errors
    ///
    /// The interface does not exist, carries another XDP program, or its driver refuses.
    pub fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<(), DatapathError> {
        let index = ifindex::interface_index(interface)?;
        let left = self.names.as_mut().map(|names| &mut names.left);
        let left = left.and_then(|left| {
            let place = left.iter().position(|left| left.index == index)?;
            Some(left.swap_remove(place))
        });
        let mut attachment = match left {
            Some(left) => Attachment::inherit(interface, left, mode),
            None => {
                let program = self.balancer()?;
                attachment::attach_xdp(program.as_fd(), interface, index, mode)?
            }
        };
        if let Some(names) = self.names.as_ref().filter(|names| names.taken_over) {
            names.name(&mut attachment)?;
        }
        self.attached.push(attachment);
        Ok(())
    }

    /// Detaches the program from the interface with this index, if there is one.
    pub fn detach_interface(&mut self, index: u32) {
        self.attached.retain(|attachment| {
            if attachment.index == index {
                attachment.end();
            }
            attachment.index != index
        });
    }

    /// Notes that the interface with this index has been renamed.
    pub fn rename(&mut self, index: u32, name: &str) {
        for attachment in self.attached.iter_mut().filter(|attached| attached.index == index) {
            name.clone_into(&mut attachment.interface);
        }
    }

    /// Returns the interfaces with the mode, `native` or `generic`, that each one got.
    pub fn attached(&self) -> impl Iterator<Item = (&str, &'static str)> + '_ {
        let attached = self.attached.iter();
        attached.map(|attachment| (attachment.interface.as_str(), attachment.mode.name()))
    }

    /// Directs connections to the proxy's addresses and ports to the `SO_REUSEPORT` group of
    /// `listener`, in the network namespace of the calling thread. Any member of the group will do.
    ///
    /// # Errors
    ///
    /// The socket does not listen, or the namespace takes no more programs.
    pub fn attach_listener(&mut self, listener: &impl AsRawFd) -> Result<(), DatapathError> {
        self.listeners
            .set(0, listener, 0)
            .map_err(|source| DatapathError::table(maps::LISTENERS, source))?;
        self.listening = Some(match self.left_listening()? {
            Some(left) => left,
            None => attachment::attach_lookup(self.lookup()?.as_fd())?,
        });
        Ok(())
    }

    fn left_listening(&self) -> Result<Option<LookupAttachment>, DatapathError> {
        let Some(names) = &self.names else {
            return Ok(None);
        };
        let Some(link) = names.pins.listeners().map_err(DatapathError::Listener)? else {
            return Ok(None);
        };
        let target = link.target().map_err(DatapathError::Listener)?;
        let lives = !matches!(target, LinkTarget::Namespace(0));
        Ok(lives.then_some(LookupAttachment { link, identity: None, current: false }))
    }

    /// Replaces the programs of an earlier daemon with this one's, each between two packets, and
    /// pins everything, so that it outlives the process. The tables must be filled already.
    ///
    /// Without a directory of pins there is nothing to take over.
    ///
    /// # Errors
    ///
    /// The bpffs or a link refuses. Every interface then has one of the two programs.
    pub fn take_over(&mut self) -> Result<(), DatapathError> {
        let (balancer, lookup) = (self.balancer()?, self.lookup()?);
        let Some(names) = &mut self.names else {
            return Ok(());
        };
        for (name, map) in names.unnamed.drain(..) {
            names.pins.pin_map(&name, map.as_fd())?;
        }
        if let Some(listening) = &mut self.listening {
            listening.renew(&lookup, &names.pins)?;
            listening.identity = FileIdentity::of(&names.pins.listeners_path());
        }
        for attachment in &mut self.attached {
            attachment.renew(&balancer)?;
            names.name(attachment)?;
        }
        for left in names.left.drain(..) {
            // The link ends without its name, because nobody else holds it.
            let _ = std::fs::remove_file(&left.path);
            let name = ifindex::interface_name(left.index);
            if let Some(interface) = name.filter(|_| left.link.detach().is_ok()) {
                info!(interface, "detached XDP: this interface is not configured any more");
            }
        }
        let maps: Vec<_> = names.maps.iter().map(String::as_str).chain([PERMITS, SEED]).collect();
        names.pins.remove_others(&maps);
        names.hold_maps()?;
        names.taken_over = true;
        Ok(())
    }

    /// Replaces the balancer with `tracer` on every interface, each between two packets; `None`
    /// puts the balancer back.
    ///
    /// # Errors
    ///
    /// A link refuses. All other interfaces have the requested program.
    pub fn trace(&mut self, tracer: Option<Tracer>) -> Result<(), DatapathError> {
        self.tracer = tracer;
        let program = self.balancer()?;
        let ours = self.attached.iter().filter(|attachment| attachment.current);
        let replaced = ours.map(|attachment| attachment.replace(&program));
        replaced.fold(Ok(()), Result::and)
    }

    /// Returns the lock on the directory of pins, if there is one.
    #[must_use]
    pub fn lock(&self) -> Option<BorrowedFd<'_>> {
        self.names.as_ref().map(|names| names.pins.lock())
    }

    /// Returns whether some part of the data path outlives this process.
    #[must_use]
    pub fn outlives(&self) -> bool {
        let inherited = self.attached.iter().any(|attachment| attachment.name.is_some());
        inherited || self.names.as_ref().is_some_and(|names| !names.left.is_empty())
    }

    /// Detaches the program from every interface, and the listeners from the lookup.
    pub fn detach(&mut self) {
        for attachment in self.attached.drain(..) {
            attachment.end();
        }
        self.listening = None;
    }

    /// Runs the XDP program once over `frame`, as if it had arrived at the interface `ingress`. Its
    /// effects on the maps are real; the frame itself goes nowhere.
    ///
    /// # Errors
    ///
    /// The frame is shorter than 14 bytes or does not fit into a page, or `ingress` does not exist
    /// in this network namespace.
    pub fn test_run(&mut self, frame: &[u8], ingress: u32) -> Result<TestRun, DatapathError> {
        test_run::run(xdp(&mut lock(&self.programs))?, programs::BALANCE, frame, ingress)
    }

    pub(crate) fn balancer(&mut self) -> Result<ProgramFd, DatapathError> {
        if let Some(Tracer(program)) = &self.tracer {
            return program_fd(Ok(program), programs::TRACE);
        }
        let mut programs = lock(&self.programs);
        program_fd(xdp(&mut programs)?.fd(), programs::BALANCE)
    }

    pub(crate) fn lookup(&mut self) -> Result<ProgramFd, DatapathError> {
        let mut programs = lock(&self.programs);
        program_fd(sk_lookup(&mut programs)?.fd(), programs::SK_LOOKUP)
    }
}

/// Returns a handle of its own to the program.
fn program_fd(
    program: Result<&ProgramFd, aya::programs::ProgramError>,
    name: &'static str,
) -> Result<ProgramFd, DatapathError> {
    program.and_then(|fd| Ok(fd.try_clone()?)).map_err(|error| DatapathError::program(name, error))
}

impl PinnedNames {
    pub(crate) fn name(&self, attachment: &mut Attachment) -> Result<(), DatapathError> {
        if attachment.name.is_none() {
            let Attachment { link, mode, index, .. } = attachment;
            let path = self.pins.pin_xdp(link, *mode, *index)?;
            attachment.identity = FileIdentity::of(&path);
            attachment.name = Some(path);
        }
        Ok(())
    }
}

impl Attachment {
    fn renew(&mut self, program: &ProgramFd) -> Result<(), DatapathError> {
        if !self.current {
            self.replace(program)?;
            info!(interface = self.interface, mode = self.mode.name(), "replaced XDP in place");
            self.current = true;
        }
        Ok(())
    }

    fn replace(&self, program: &ProgramFd) -> Result<(), DatapathError> {
        let replaced = self.link.update(program.as_fd());
        replaced
            .map_err(|source| DatapathError::Replace { interface: self.interface.clone(), source })
    }

    /// Detaches it and removes its pin.
    fn end(&self) {
        let _ = self.link.detach();
        if let Some(name) = &self.name {
            let _ = std::fs::remove_file(name);
        }
    }
}

impl LookupAttachment {
    fn renew(&mut self, program: &ProgramFd, pins: &Pins) -> Result<(), DatapathError> {
        if self.current {
            return pins.pin_listeners(&self.link);
        }
        self.link.update(program.as_fd()).map_err(DatapathError::Listener)?;
        self.current = true;
        Ok(())
    }
}
