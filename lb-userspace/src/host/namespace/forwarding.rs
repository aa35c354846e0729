//! Enables forwarding on the interfaces that packets arrive at: `bpf_fib_lookup` refuses to route
//! for others (`bpf_ipv4_fib_lookup` and `bpf_ipv6_fib_lookup` in net/core/filter.c check the
//! ingress device's `forwarding` only).
//!
//! IPv6 has a catch. When a device starts to forward, the kernel drops the default routes that it
//! learnt from router advertisements, on **every** device whose `accept_ra` is not 2
//! (`rt6_purge_dflt_routers` in net/ipv6/route.c), and a forwarding device ignores further
//! advertisements unless its `accept_ra` is 2. A host that depends on them would lose its route. So
//! `accept_ra` is changed from 1 to 2 first: permanently on our interfaces, on the others for the
//! moment of the switch.

use std::{collections::BTreeMap, fs, path::Path};

use tracing::{debug, info};

use super::{
    host::Host,
    undo_journal::{UndoJournal, sysctl},
};
use crate::host::error::HostError;

const IPV6: &str = "net/ipv6/conf";

impl Host {
    /// Enables forwarding on exactly these interfaces, until [`close`](Host::close), and restores
    /// it on others where it was enabled by us. As a side effect the host routes what arrives
    /// there, as far as its routes and firewall allow.
    ///
    /// # Errors
    ///
    /// No privilege, or /proc/sys or the journal cannot be written.
    pub fn enable_forwarding(&mut self, interfaces: &[impl AsRef<str>]) -> Result<(), HostError> {
        let is_unwanted = |key: &str| {
            let mut parts = key.split('/').skip(3);
            let (device, what) = (parts.next(), parts.next());
            matches!(what, Some("forwarding" | "accept_ra"))
                && !interfaces.iter().any(|interface| device == Some(interface.as_ref()))
        };
        self.journal.restore_if(is_unwanted)?;
        self.suspect_forwarding(interfaces)?;
        self.forwarding = interfaces.iter().map(|name| name.as_ref().to_owned()).collect();
        for interface in interfaces {
            let interface = interface.as_ref();
            let v4 = forwarding_v4(interface);
            let had = !is(&v4, "0")? && !is(&forwarding(interface), "0")?;
            self.journal.set(&v4, "1")?;
            if is(&forwarding(interface), "0")? {
                enable_v6(&mut self.journal, interface)?;
            }
            if !had {
                info!(interface, "forwards IPv4 and IPv6");
            }
        }
        Ok(())
    }

    /// Returns the settings that are not as the data path needs them: forwarding that is off, and
    /// settings that were set back to their value before us. If an administrator has set a third
    /// value, it is left alone.
    ///
    /// # Errors
    ///
    /// /proc/sys cannot be read.
    pub fn lost_settings(&self) -> Result<BTreeMap<String, String>, HostError> {
        let mut lost: BTreeMap<_, _> = self.journal.set_back()?.into_iter().collect();
        for interface in &self.forwarding {
            for key in [forwarding_v4(interface), forwarding(interface)] {
                if is(&key, "0")? {
                    lost.insert(key, "1".to_owned());
                }
            }
        }
        Ok(lost)
    }

    /// Sets one of [`lost_settings`](Self::lost_settings) again.
    ///
    /// # Errors
    ///
    /// No privilege, or /proc/sys or the journal cannot be written.
    pub fn restore_setting(&mut self, key: &str, value: &str) -> Result<(), HostError> {
        let mut interfaces = self.forwarding.iter();
        match interfaces.find(|interface| *key == forwarding(interface)).cloned() {
            Some(interface) => enable_v6(&mut self.journal, &interface),
            None => self.journal.set(key, value),
        }
    }

    /// Notes that an earlier daemon used these interfaces. If its notes are lost,
    /// [`close`](Host::close) reports what it may have set there.
    ///
    /// # Errors
    ///
    /// /proc/sys cannot be read, or the journal cannot be written.
    pub fn suspect_forwarding(&mut self, interfaces: &[impl AsRef<str>]) -> Result<(), HostError> {
        for interface in interfaces {
            let interface = interface.as_ref();
            self.journal.suspect(&forwarding_v4(interface), "1")?;
            self.journal.suspect(&forwarding(interface), "1")?;
            self.journal.suspect(&format!("{IPV6}/{interface}/accept_ra"), "2")?;
            self.suspect_answering(interface)?;
        }
        Ok(())
    }
}

fn enable_v6(journal: &mut UndoJournal, interface: &str) -> Result<(), HostError> {
    let mut lent = Vec::new();
    for device in devices()? {
        let accept_ra = format!("{IPV6}/{device}/accept_ra");
        if !is(&accept_ra, "1")? || !is(&forwarding(&device), "0")? {
            continue;
        }
        journal.set(&accept_ra, "2")?;
        if device != interface {
            lent.push(accept_ra);
        }
    }
    journal.set(&forwarding(interface), "1")?;
    for accept_ra in lent {
        debug!(accept_ra, "restored accept_ra");
        journal.restore(&accept_ra)?;
    }
    Ok(())
}

fn forwarding_v4(device: &str) -> String {
    format!("net/ipv4/conf/{device}/forwarding")
}

fn forwarding(device: &str) -> String {
    format!("{IPV6}/{device}/forwarding")
}

fn is(key: &str, value: &str) -> Result<bool, HostError> {
    Ok(sysctl(key)?.as_deref() == Some(value))
}

fn devices() -> Result<Vec<String>, HostError> {
    let path = Path::new("/proc/sys").join(IPV6);
    let entries = fs::read_dir(&path).map_err(|source| HostError::file("list", &path, source))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    Ok(names.filter(|name| name != "all" && name != "default").collect())
}
