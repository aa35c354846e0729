//! Builds the fleet from the configured services, and applies health transitions to it.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::app::state::store::PoolMember;
use crate::{
    control::{self, StableIds},
    fleet::{Backend, Fleet, RunningService},
    health::Transition,
    service::Service,
};

/// Builds the running services from the configured ones.
///
/// A service that is as it was in `running` goes on untouched. A changed one goes on with its
/// counts, and each of its servers with its health, latency and counts.
///
/// # Errors
///
/// More servers than the kernel's tables have room for.
pub(crate) fn build_fleet(
    running: &Fleet,
    services: &[Arc<Service>],
    ids: &mut StableIds,
) -> Result<Fleet, control::ControlError> {
    let before: HashMap<&Arc<str>, &Arc<RunningService>> =
        running.services.iter().map(|running| (&running.service.name, running)).collect();
    let build = |service: &Arc<Service>| match before.get(&service.name) {
        Some(&running) if running.service == *service => Ok(running.clone()),
        before => Ok(Arc::new(build_service(before.copied(), service, ids)?)),
    };
    Ok(Fleet::new(services.iter().map(build).collect::<Result<_, _>>()?))
}

fn build_service(
    before: Option<&Arc<RunningService>>,
    service: &Arc<Service>,
    ids: &mut StableIds,
) -> Result<RunningService, control::ControlError> {
    let backends = before.map_or(&[][..], |running| &running.backends);
    let known: HashMap<SocketAddr, &Arc<Backend>> =
        backends.iter().map(|backend| (backend.server.address, backend)).collect();
    let servers = service.pool.servers.iter();
    let backends = servers.map(|server| match known.get(&server.address) {
        Some(&same) if same.server == *server => Ok(same.clone()),
        Some(other) => Ok(Arc::new(other.configured(server.clone()))),
        None => Ok(Arc::new(Backend::new(server.clone(), ids.load(server.address)?))),
    });
    let backends: Vec<_> = backends.collect::<Result<_, _>>()?;
    let is_checked = service.pool.health_check.is_some();
    // Without checks nothing would ever find that a server is up again.
    backends.iter().filter(|_| !is_checked).for_each(|backend| backend.set_up(true));
    let counts = before.map_or_else(Arc::default, |running| running.counts.clone());
    Ok(RunningService::counting(service.clone(), backends, counts))
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

/// Returns every announced address, also those where connections of a removed service go on.
pub(crate) fn addresses(fleet: &Fleet) -> BTreeSet<IpAddr> {
    let services = fleet.services.iter();
    let configured = services.flat_map(|running| running.service.addresses.iter().copied());
    configured.chain(fleet.removed.iter().map(SocketAddr::ip)).collect()
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
