//! Waiting for a program that listens.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Result;

use crate::lab::{
    process::{Process, poll},
    topology::Lab,
};

/// Waits until `process` listens at `address`.
pub(super) fn when_listening(
    lab: &Lab,
    mut process: Process,
    address: SocketAddr,
) -> Result<Process> {
    poll(&format!("{address} is listened on"), || {
        process.check()?;
        let patience = Duration::from_secs(1);
        lab.lb.within(|| TcpStream::connect_timeout(&address, patience).is_ok())
    })?;
    Ok(process)
}
