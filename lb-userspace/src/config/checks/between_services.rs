//! Checks between services: which one owns an address, port and host name.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    ptr,
};

use crate::service::Protocol;

use super::one_service::chain;
use crate::config::{
    tables::{
        port::PortDraft,
        service::{Pools, ServiceDraft},
    },
    text::{
        diagnostic::{Diagnostic, Span},
        reader::{At, Report},
    },
};

pub(crate) fn check(services: &[ServiceDraft<'_>], pools: &Pools<'_>, report: &Report) {
    let names = services.iter().filter_map(|service| service.name.as_ref());
    report.refuse_repeats("service", names);
    refuse_own_addresses_as_servers(services, pools, report);
    let mut claims = Claims::default();
    for service in services {
        if let Err(conflict) = claims.add(service) {
            report.push(conflict);
        }
    }
}

type Place = (IpAddr, u16, Protocol);

/// A service at one of its places.
#[derive(Clone, Copy)]
struct Claim<'s> {
    service: &'s ServiceDraft<'s>,
    address: &'s At<IpAddr>,
    port: &'s PortDraft,
    place: Place,
}

/// The first service at each place, and at each host name there.
#[derive(Default)]
pub(crate) struct Claims<'s> {
    places: HashMap<Place, Claim<'s>>,
    /// `None`: the service that takes all names that no other service takes.
    names: HashMap<(Place, Option<&'s str>), (&'s ServiceDraft<'s>, Span)>,
}

impl<'s> Claims<'s> {
    /// Adds a service. Returns the first conflict alone: one mistake shows at every address, port
    /// and name.
    pub(crate) fn add(&mut self, service: &'s ServiceDraft<'s>) -> Result<(), Diagnostic> {
        claims(service).try_for_each(|claim| {
            let first = *self.places.entry(claim.place).or_insert(claim);
            refuse_unshared(&first, &claim)?;
            claim.names().try_for_each(|(name, span)| self.add_name(claim, name, span))
        })
    }

    /// Returns the first conflict of a service that does not take part.
    pub(crate) fn conflict(&self, service: &ServiceDraft<'_>) -> Option<Diagnostic> {
        let conflict = |claim: Claim<'_>| {
            let first = self.places.get(&claim.place)?;
            if let Err(conflict) = refuse_unshared(first, &claim) {
                return Some(conflict);
            }
            claim.names().find_map(|(name, span)| {
                let (first, first_span) = self.names.get(&(claim.place, name))?;
                Some(refuse_name(claim.place, name, span, first, first_span))
            })
        };
        claims(service).find_map(conflict)
    }

    fn add_name(
        &mut self,
        claim: Claim<'s>,
        name: Option<&'s str>,
        span: &Span,
    ) -> Result<(), Diagnostic> {
        let entry = self.names.entry((claim.place, name));
        let (first, first_span) = entry.or_insert_with(|| (claim.service, span.clone()));
        if ptr::eq(*first, claim.service) {
            return Ok(());
        }
        Err(refuse_name(claim.place, name, span, first, first_span))
    }
}

/// Every place of a service.
fn claims<'s>(service: &'s ServiceDraft<'s>) -> impl Iterator<Item = Claim<'s>> {
    service.protocol.into_iter().flat_map(move |protocol| {
        service.addresses.iter().flat_map(move |address| {
            let ports = service.ports.items.iter().map(|item| &item.value);
            ports.flat_map(move |port| {
                port.port.numbers().map(move |number| {
                    let place = (address.value, number, protocol);
                    Claim { service, address, port, place }
                })
            })
        })
    })
}

impl<'s> Claim<'s> {
    /// The host names that the service takes here, and where that is written. `None`: all that no
    /// other service takes.
    fn names(self) -> impl Iterator<Item = (Option<&'s str>, &'s Span)> {
        let is_named = self.port.port.opening().is_named();
        let names = self.service.hostnames.as_ref().filter(|_| is_named);
        let every = names.is_none().then_some((None, &self.address.span));
        let names = names.into_iter().flatten().map(|name| (Some(&*name.value), &name.span));
        names.chain(every)
    }
}

fn refuse_unshared(first: &Claim<'_>, claim: &Claim<'_>) -> Result<(), Diagnostic> {
    if ptr::eq(first.service, claim.service) || can_share(first, claim) {
        return Ok(());
    }
    Err(refuse_place(first, claim))
}

fn refuse_name(
    place: Place,
    name: Option<&str>,
    span: &Span,
    first: &ServiceDraft<'_>,
    first_span: &Span,
) -> Diagnostic {
    let what = name.map_or("every host name".to_owned(), |name| format!("`{name}`"));
    let (place, owner) = (shown(place), first.label());
    let message = format!("{what} on {place} already belongs to service `{owner}`");
    Diagnostic::new(span.clone(), message)
        .related(first_span.clone(), "first claimed here")
        .help("give the services different `hostnames`, addresses or ports")
}

/// Returns whether two services can share a place: host names tell them apart only if both are read
/// at the same stage of a connection.
fn can_share(first: &Claim<'_>, second: &Claim<'_>) -> bool {
    let opening = first.port.port.opening();
    opening.is_named() && opening == second.port.port.opening() && is_as_private(first, second)
}

fn is_as_private(first: &Claim<'_>, second: &Claim<'_>) -> bool {
    let private = |claim: &Claim<'_>| claim.service.private.as_ref().map(|it| it.value.clone());
    private(first) == private(second)
}

fn refuse_place(first: &Claim<'_>, second: &Claim<'_>) -> Diagnostic {
    let (place, owner) = (shown(second.place), first.service.label());
    if !is_as_private(first, second) {
        let message = format!("{place} is not private in the same way in service `{owner}`");
        return Diagnostic::new(second.address.span.clone(), message)
            .related(first.address.span.clone(), "first claimed here")
            .help("give the two the same `private`, or different addresses or ports");
    }
    let (handlers, first_handlers) = (&second.port.port.handlers, &first.port.port.handlers);
    if handlers == first_handlers {
        let message = format!("{place} already belongs to service `{owner}`");
        return Diagnostic::new(second.address.span.clone(), message)
            .related(first.address.span.clone(), "first claimed here")
            .help("use another address or port: only `tls` and `http` can share one by host name");
    }
    let (here, there) = (chain(handlers), chain(first_handlers));
    let message = format!("{place} has {here} here, and {there} in service `{owner}`");
    Diagnostic::new(second.port.number.clone(), message)
        .related(first.port.number.clone(), "the same port there")
        .help("services that share an address and port must begin with the same handler there")
}

fn shown((address, port, protocol): Place) -> String {
    format!("{}/{protocol}", SocketAddr::new(address, port))
}

/// Refuses servers at announced addresses: lb would send to itself for ever.
fn refuse_own_addresses_as_servers(
    services: &[ServiceDraft<'_>],
    pools: &Pools<'_>,
    report: &Report,
) {
    let addresses = services.iter().flat_map(|service| &service.addresses);
    let own: HashMap<_, _> = addresses.map(|it| (it.value, &it.span)).collect();
    let used = services.iter().filter_map(|service| service.find_pool(pools));
    for server in used.flat_map(|pool| &pool.servers.items) {
        let address = &server.value.address;
        let Some(span) = own.get(&address.value) else {
            continue;
        };
        let message = format!("`{}` is a service's own address, not a server's", address.value);
        report.push(
            Diagnostic::new(address.span.clone(), message)
                .related((*span).clone(), "announced here")
                .help("write the address of the machine that runs the server"),
        );
    }
}
