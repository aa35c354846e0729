//! Says in the log that a service fails: for each worker, service and reason once a second at most.
//! A service that is down fails every request, and a log of all of them helps nobody; neither may
//! it hide that another service fails as well, or for another reason.

use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::fleet::RunningService;
use crate::proxy::http::fault::Fault;

const BETWEEN: Duration = Duration::from_secs(1);
/// Budgets that are kept at a time. Beyond, those are let go of that would admit anyway.
const MOST: usize = 4096;

thread_local! {
    static OURS: RefCell<Complaints> = RefCell::default();
}

/// By service and reason.
#[derive(Default)]
struct Complaints(HashMap<(Arc<str>, &'static str), Budget>);

struct Budget {
    told: Instant,
    /// Failures since then.
    unsaid: u64,
}

impl Complaints {
    /// How many failures of this kind went unsaid, where this one is to be said.
    fn admit(&mut self, service: &Arc<str>, reason: &'static str, now: Instant) -> Option<u64> {
        if self.0.len() >= MOST {
            self.0.retain(|_, budget| now < budget.told + BETWEEN);
        }
        let key = (service.clone(), reason);
        let Some(budget) = self.0.get_mut(&key) else {
            self.0.insert(key, Budget { told: now, unsaid: 0 });
            return Some(0);
        };
        if now < budget.told + BETWEEN {
            budget.unsaid += 1;
            return None;
        }
        budget.told = now;
        Some(std::mem::take(&mut budget.unsaid))
    }
}

/// A request to `service` failed by its servers or their number, not by its client.
pub(crate) fn log_failure(service: &RunningService, fault: Fault) {
    let (service, reason) = (&service.service.name, fault.word());
    let admitted = OURS.with_borrow_mut(|ours| ours.admit(service, reason, Instant::now()));
    if let Some(others) = admitted {
        let status = fault.status().as_u16();
        tracing::warn!(%service, status, reason, others, "{fault}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_tells_of_the_others() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let admitted = [0, 1, 500, 999, 1000, 1001, 3000].map(|after| {
            complaints.admit(&"web".into(), "down", start + Duration::from_millis(after))
        });
        assert_eq!(admitted, [Some(0), None, None, None, Some(3), None, Some(1)]);
    }

    #[test]
    fn a_service_or_a_reason_does_not_hide_another() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let told = [("web", "down"), ("api", "down"), ("web", "full"), ("web", "down")]
            .map(|(service, reason)| complaints.admit(&service.into(), reason, start));
        assert_eq!(told, [Some(0), Some(0), Some(0), None]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        for number in 0..3 * MOST as u32 {
            let name = number.to_string();
            complaints.admit(&name.into(), "down", start + number * (2 * BETWEEN / MOST as u32));
            assert!(complaints.0.len() <= MOST);
        }
    }
}
