//! Builds the fleet from the configured services, and applies health transitions to it.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use crate::app::state::store::PoolMember;
use crate::{
    control::{self, StableIds},
    fleet::{Backend, Fleet, RunningService},
    health::Transition,
    service::Service,
};

/// # Errors
///
/// More servers than the kernel's tables have room for.
pub(crate) fn build_fleet(
    services: &[Arc<Service>],
    ids: &mut StableIds,
) -> Result<Fleet, control::ControlError> {
    let start = |service: &Arc<Service>| start(service, ids).map(Arc::new);
    let services = services.iter().map(start).collect::<Result<_, _>>()?;
    Ok(Fleet { services })
}

fn start(
    service: &Arc<Service>,
    ids: &mut StableIds,
) -> Result<RunningService, control::ControlError> {
    let servers = service.pool.servers.iter();
    let backends = servers.map(|server| {
        let slot = ids.load(server.address)?;
        Ok(Arc::new(Backend::new(server.clone(), slot)))
    });
    Ok(RunningService::new(service.clone(), backends.collect::<Result<_, _>>()?))
}

/// Restores the health that an earlier daemon recorded: a server that was down stays down until it
/// passes its checks, so a restart brings none back. A server without checks is up.
pub(crate) fn resume_health(fleet: &Fleet, down: &BTreeSet<PoolMember>) {
    for (running, backend) in checked(fleet) {
        backend.set_up(!down.contains(&member(running, backend)));
    }
}

/// Returns the servers that do not pass their checks.
pub(crate) fn down_servers(fleet: &Fleet) -> BTreeSet<PoolMember> {
    let down = checked(fleet).filter(|(_, backend)| !backend.is_up());
    down.map(|(running, backend)| member(running, backend)).collect()
}

fn checked(fleet: &Fleet) -> impl Iterator<Item = (&RunningService, &Backend)> {
    let services = fleet.services.iter().map(Arc::as_ref);
    let checked = services.filter(|running| running.service.pool.health_check.is_some());
    checked.flat_map(|running| running.backends.iter().map(move |backend| (running, &**backend)))
}

fn member(running: &RunningService, backend: &Backend) -> PoolMember {
    (running.service.name.to_string(), backend.server.address)
}

/// Returns every announced address.
pub(crate) fn addresses(fleet: &Fleet) -> BTreeSet<IpAddr> {
    let services = fleet.services.iter();
    services.flat_map(|running| running.service.addresses.iter().copied()).collect()
}

/// Returns the addresses of all servers that packets are steered to.
pub(crate) fn steered_servers(fleet: &Fleet) -> BTreeSet<IpAddr> {
    let steered = fleet.services.iter().filter(|running| running.service.is_steered());
    let backends = steered.flat_map(|running| &running.backends);
    backends.map(|backend| backend.server.address.ip()).collect()
}

/// Applies what a health check found, and logs it.
pub(crate) fn apply_transition(fleet: &Fleet, transition: &Transition) {
    let mut services = fleet.services.iter();
    let Some(running) = services.find(|running| running.service.name == transition.service) else {
        return;
    };
    let backends = running.backends.iter();
    for backend in backends.filter(|backend| backend.server.address == transition.server) {
        backend.set_up(transition.up);
    }
    running.touch();
    let up = running.backends.iter().filter(|backend| backend.is_up()).count();
    let (service, server, why) = (&transition.service, transition.server, &transition.why);
    if transition.up {
        tracing::info!(%service, %server, why, up, "backend is up");
    } else {
        tracing::warn!(%service, %server, why, up, "backend is down");
    }
}

#[cfg(test)]
mod tests;
