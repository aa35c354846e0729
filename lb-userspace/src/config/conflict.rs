//! What different services must not say: who owns an address, port and host name.

use std::{collections::HashMap, net::IpAddr, num::NonZeroU16};

use crate::service::{Path, Protocol};

use super::{
    combine::chain,
    diagnostic::{Diagnostic, Span},
    port::PortDraft,
    reader::{At, Report},
    service::{Draft, Pools},
};

pub(super) fn check(services: &[Draft<'_>], pools: &Pools<'_>, report: &Report) {
    let names = services.iter().filter_map(|service| service.name.as_ref());
    report.refuse_repeats("service", names);
    refuse_own_addresses_as_servers(services, pools, report);
    let mut claims = Claims::default();
    for index in 0..services.len() {
        claims.add(index, services, report);
    }
}

type Place = (IpAddr, NonZeroU16, Protocol);

/// The first service at each place, and at each host name of a place.
#[derive(Default)]
struct Claims<'s> {
    places: HashMap<Place, (usize, &'s PortDraft, &'s At<IpAddr>)>,
    /// Without a name: the service that takes every name.
    names: HashMap<(Place, Option<&'s str>), (usize, Span)>,
}

impl<'s> Claims<'s> {
    fn add(&mut self, index: usize, services: &'s [Draft<'_>], report: &Report) {
        let service = &services[index];
        for address in &service.addresses {
            for port in service.ports.items.iter().map(|item| &item.value) {
                // One mistake is told once, not for each address and port.
                if !self.add_place(index, address, port, services, report) {
                    return;
                }
            }
        }
    }

    fn add_place(
        &mut self,
        index: usize,
        address: &'s At<IpAddr>,
        port: &'s PortDraft,
        services: &'s [Draft<'_>],
        report: &Report,
    ) -> bool {
        let place = (address.value, port.port.port, services[index].protocol);
        let (first, first_port, first_address) =
            *self.places.entry(place).or_insert((index, port, address));
        if first != index && !can_share(first_port, port) {
            let other = services[first].label();
            report.push(refuse_place(
                place,
                port,
                first_port,
                other,
                address,
                first_address,
            ));
            return false;
        }
        let service = &services[index];
        match &service.hostnames {
            None => self.add_name(index, place, None, &address.span, services, report),
            Some(names) => names.iter().all(|name| {
                self.add_name(
                    index,
                    place,
                    Some(&name.value),
                    &name.span,
                    services,
                    report,
                )
            }),
        }
    }

    fn add_name(
        &mut self,
        index: usize,
        place: Place,
        name: Option<&'s str>,
        span: &Span,
        services: &[Draft<'_>],
        report: &Report,
    ) -> bool {
        let claim = self.names.entry((place, name));
        let (first, first_span) = claim.or_insert_with(|| (index, span.clone()));
        if *first == index {
            return true;
        }
        let what = match name {
            Some(name) => format!("`{name}`"),
            None => "every host name".to_owned(),
        };
        let message = format!(
            "{what} on {} already belongs to service `{}`",
            shown(place),
            services[*first].label()
        );
        report.push(
            Diagnostic::new(span.clone(), message)
                .related(first_span.clone(), "first claimed here")
                .help("give the services different `hostnames`, addresses or ports"),
        );
        false
    }
}

/// Names tell services apart only where a handler of the same kind sees them.
fn can_share(first: &PortDraft, second: &PortDraft) -> bool {
    first.port.path() == Path::Proxy && first.port.handlers == second.port.handlers
}

fn refuse_place(
    place: Place,
    port: &PortDraft,
    first_port: &PortDraft,
    first: &str,
    address: &At<IpAddr>,
    first_address: &At<IpAddr>,
) -> Diagnostic {
    let place = shown(place);
    if port.port.handlers == first_port.port.handlers {
        let message = format!("{place} already belongs to service `{first}`");
        return Diagnostic::new(address.span.clone(), message)
            .related(first_address.span.clone(), "first claimed here")
            .help("use another address or port: only `tls` and `http` can share one by host name");
    }
    let message = format!(
        "{place} has {} here, and {} in service `{first}`",
        chain(&port.port.handlers),
        chain(&first_port.port.handlers)
    );
    Diagnostic::new(port.number.clone(), message)
        .related(first_port.number.clone(), "the same port there")
        .help("services that share an address and port must have the same handlers there")
}

fn shown((address, port, protocol): Place) -> String {
    let socket = std::net::SocketAddr::new(address, port.get());
    format!("{socket}/{protocol}")
}

/// A server at an anycast address would be ourselves, for ever.
fn refuse_own_addresses_as_servers(services: &[Draft<'_>], pools: &Pools<'_>, report: &Report) {
    let addresses = services.iter().flat_map(|service| &service.addresses);
    let own: HashMap<_, _> = addresses.map(|it| (it.value, &it.span)).collect();
    let used = services
        .iter()
        .filter_map(|service| service.find_pool(pools));
    for server in used.flat_map(|pool| &pool.servers.items) {
        let address = &server.value.address;
        let Some(span) = own.get(&address.value) else {
            continue;
        };
        let message = format!(
            "`{}` is a service's own address, not a server's",
            address.value
        );
        report.push(
            Diagnostic::new(address.span.clone(), message)
                .related((*span).clone(), "announced here")
                .help("write the address of the machine that runs the server"),
        );
    }
}
