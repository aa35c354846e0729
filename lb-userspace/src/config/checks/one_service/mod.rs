//! Checks of combinations of keys within one service.

mod family;
mod steering;

use std::collections::BTreeMap;

use crate::service::{Handler, Path, Protocol};

use crate::config::{
    tables::{
        pool::PoolDraft,
        port::PortDraft,
        service::{PoolChoice, Pools, ServiceDraft},
    },
    text::{diagnostic::Diagnostic, reader::Report},
};

pub(crate) fn check(
    service: &ServiceDraft<'_>,
    pools: &Pools<'_>,
    certificates: bool,
    report: &Report,
) {
    report.refuse_repeats("address", &service.addresses);
    report.refuse_repeats("host name", service.hostnames.iter().flatten());
    refuse_repeated_ports(service, report);
    refuse_udp_handlers(service, report);
    refuse_useless_hostnames(service, report);
    refuse_public_handlers(service, report);
    refuse_useless_limits(service, report);
    refuse_unknown_pool(service, pools, report);
    if !certificates {
        refuse_tls_without_certificate(service, report);
    }
    let pool = service.find_pool(pools);
    steering::check(service, pool, report);
    if let Some(pool) = pool {
        refuse_loopback_servers(service, pool, report);
    }
}

fn refuse_repeated_ports(service: &ServiceDraft<'_>, report: &Report) {
    let mut owners = BTreeMap::new();
    for draft in service.ports.items.iter().map(|item| &item.value) {
        let numbers = draft.port.numbers();
        let (first, last) = (*numbers.start(), *numbers.end());
        // Ranges in the map do not overlap, so the last to begin is the last to end.
        let before = owners.range(..=last).next_back();
        match before.filter(|(_, owner): &(_, &&PortDraft)| *owner.port.numbers().end() >= first) {
            None => drop(owners.insert(first, draft)),
            Some((_, owner)) => {
                let message = match draft.is_range() || owner.is_range() {
                    false => format!("port `{first}` is given twice"),
                    true => format!("`{}` overlaps `{}`", draft.port, owner.port),
                };
                report.push(
                    Diagnostic::new(draft.number.clone(), message)
                        .related(owner.number.clone(), "first given here")
                        .help("remove or change one of the two"),
                );
            }
        }
    }
}

fn refuse_udp_handlers(service: &ServiceDraft<'_>, report: &Report) {
    if service.protocol != Some(Protocol::Udp) {
        return;
    }
    for port in service.ports.items.iter().map(|item| &item.value) {
        if let Some(span) = port.handlers.clone().filter(|_| !port.port.handlers.is_empty()) {
            let message = "handlers on a UDP service: they act on TCP connections";
            let help = "remove `handlers` to steer the port in the kernel, or `protocol = \"udp\"`";
            report.push(Diagnostic::new(span, message).help(help));
        }
    }
}

fn refuse_useless_hostnames(service: &ServiceDraft<'_>, report: &Report) {
    if let Some(span) = &service.hostnames_key
        && service.ports.whole
        && !service.ports.items.iter().any(|item| item.value.port.opening().is_named())
    {
        let message = "`hostnames` on a service whose ports have none of `tls`, `pg_tls`, `http`: \
                       no name is seen there";
        let help = r#"add one of them to `handlers`, or remove `hostnames`"#;
        report.push(Diagnostic::new(span.clone(), message).help(help));
    }
}

/// The kernel queues nothing.
fn refuse_useless_limits(service: &ServiceDraft<'_>, report: &Report) {
    let limits = service.limits.as_ref().map(|it| (&it.span, "limits"));
    let queue = service.queue.as_ref().map(|it| (&it.span, "queue"));
    for (span, key) in limits.into_iter().chain(queue).filter(|_| service.is_only_steered()) {
        let message = format!("`{key}` on a service whose ports have no handlers");
        let help = "`concurrency` limits what is steered to each backend";
        report.push(Diagnostic::new(span.clone(), message).help(help));
    }
}

/// As with Fly's private services, where the network encrypts.
fn refuse_public_handlers(service: &ServiceDraft<'_>, report: &Report) {
    let Some(private) = &service.private else {
        return;
    };
    for draft in service.ports.items.iter().map(|item| &item.value) {
        let number = draft.port.port;
        let (message, help) = if draft.port.tls.is_some() {
            (
                format!("port {number} of a private service ends TLS"),
                "leave `tls` and `pg_tls` out, or serve it publicly",
            )
        } else if draft.port.force_https.is_some() {
            (
                format!("port {number} of a private service redirects to https"),
                "remove `force_https`: a private service has no https",
            )
        } else if draft.port.path() == Path::Steer {
            (
                format!("port {number} of a private service has no handlers"),
                "that is not supported yet; `proxy_proto` or `http` keep strangers out",
            )
        } else {
            continue;
        };
        let at = draft.handlers.clone().unwrap_or_else(|| draft.number.clone());
        report.push(
            Diagnostic::new(at, message)
                .related(private.span.clone(), "made private here")
                .help(help),
        );
    }
}

fn refuse_unknown_pool(service: &ServiceDraft<'_>, pools: &Pools<'_>, report: &Report) {
    let Some(PoolChoice::Named(name)) = &service.pool else {
        return;
    };
    if pools.contains_key(name.value) {
        return;
    }
    let known: Vec<_> = pools.keys().copied().collect();
    let help = match crate::config::text::reader::closest(name.value, &known) {
        Some(pool) => format!("did you mean \"{pool}\"?"),
        None if known.is_empty() => format!("add a table `[pools.{}]`", name.value),
        None => format!("the pools are: {}", known.join(", ")),
    };
    let message = format!("there is no pool `{}`", name.value);
    report.push(Diagnostic::new(name.span.clone(), message).help(help));
}

fn refuse_tls_without_certificate(service: &ServiceDraft<'_>, report: &Report) {
    for item in &service.ports.items {
        let draft = &item.value;
        let needs = draft.port.tls.as_ref().is_some_and(|tls| !tls.default_self_signed);
        if let Some(span) = draft.handlers.clone().filter(|_| needs) {
            let message = "`tls` without a certificate: no handshake could succeed";
            let help = "add `[[certificates]]`, or `tls_options.default_self_signed = true`";
            report.push(Diagnostic::new(span, message).help(help));
        }
    }
}

fn refuse_loopback_servers(service: &ServiceDraft<'_>, pool: &PoolDraft, report: &Report) {
    let Some(port) = service.steered().next() else {
        return;
    };
    for server in &pool.servers.items {
        let address = &server.value.address;
        if address.value.is_loopback() {
            let message = format!("`{}` cannot be reached from the kernel", address.value);
            report.push(
                Diagnostic::new(address.span.clone(), message)
                    .related(port.number.clone(), "a port without handlers")
                    .help("loopback servers serve only ports with handlers"),
            );
        }
    }
}

/// Returns the words that say which handlers a port has.
pub(crate) fn chain(handlers: &[Handler]) -> String {
    let names: Vec<_> = handlers.iter().map(|it| format!("`{}`", it.name())).collect();
    match &*names {
        [] => "no handlers".to_owned(),
        [name] => format!("handler {name}"),
        names => format!("handlers {}", names.join(", ")),
    }
}
