//! Services of the API beside those of the file: where both want the same, the file wins.

use std::collections::HashMap;

use super::between_services::Claims;
use crate::config::{
    tables::service::ServiceDraft,
    text::{
        diagnostic::{Diagnostic, Span},
        reader::Report,
    },
};

/// Returns the services without those of the API that the file shadows: it has one of the same
/// name, or one with the same address, port and host name.
///
/// What is shadowed comes back when the file lets go. So that it can, the services of the API do
/// not get in each other's way even while they are shadowed.
pub(crate) fn set_shadowed_aside<'a>(
    drafts: Vec<ServiceDraft<'a>>,
    objects_from: usize,
    report: &Report,
) -> Vec<ServiceDraft<'a>> {
    let is_ours = |draft: &ServiceDraft<'_>| draft.span.start >= objects_from;
    let (ours, mut all): (Vec<_>, Vec<_>) = drafts.into_iter().partition(is_ours);
    if ours.is_empty() {
        return all;
    }
    let conflicts: Vec<_> = {
        let file = Taken::by(&all);
        ours.iter().map(|draft| file.conflict(draft)).collect()
    };
    refuse_conflicts_among(&ours, report);
    for (draft, conflict) in ours.into_iter().zip(conflicts) {
        match conflict {
            Some(conflict) => report.shadow(conflict),
            None => all.push(draft),
        }
    }
    all
}

/// What the file's services have.
struct Taken<'s> {
    names: HashMap<&'s str, &'s Span>,
    claims: Claims<'s>,
}

impl<'s> Taken<'s> {
    fn by(services: &'s [ServiceDraft<'s>]) -> Self {
        let names = services.iter().filter_map(|service| service.name.as_ref());
        let names = names.map(|name| (&*name.value, &name.span)).collect();
        let mut claims = Claims::default();
        for service in services {
            // Conflicts within the file are reported with all others.
            let _ = claims.add(service);
        }
        Self { names, claims }
    }

    fn conflict(&self, draft: &ServiceDraft<'_>) -> Option<Diagnostic> {
        let name = draft.name.as_ref()?;
        match self.names.get(&*name.value) {
            Some(&first) => {
                let message = format!("the file has a service `{}` too", name.value);
                let conflict = Diagnostic::new(name.span.clone(), message)
                    .related(first.clone(), "its owner is the file")
                    .help("choose another name, or remove it from the file");
                Some(conflict)
            }
            None => self.claims.conflict(draft),
        }
    }
}

fn refuse_conflicts_among(ours: &[ServiceDraft<'_>], report: &Report) {
    let mut claims = Claims::default();
    for draft in ours {
        if let Err(conflict) = claims.add(draft) {
            report.push(conflict);
        }
    }
}
