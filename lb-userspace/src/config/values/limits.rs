//! `limits` and `queue`: how much of a service is served at a time, and what may wait.

use crate::service::{Queue, ServiceLimits};

use crate::config::text::{
    diagnostic::Diagnostic,
    reader::{At, Value},
    scalar::duration,
};

/// Reads `limits`. The range is that of Unikraft Cloud. Its default `soft_limit` of 1 is not used:
/// it serves one request at a time, which a configuration with a `hard_limit` alone does not mean.
pub(crate) fn limits(value: Value<'_>) -> Option<At<ServiceLimits>> {
    value.section(|limits| {
        let mut limit = |key| limits.optional(key, |it| Some(it.at(it.number(1..=u16::MAX)?)));
        let (soft, hard) = (limit("soft_limit"), limit("hard_limit"));
        let most = hard.as_ref().map_or(u16::MAX, |hard| hard.value);
        if let Some(soft) = soft.as_ref().filter(|soft| soft.value > most)
            && let Some(hard) = &hard
        {
            limits.report().push(
                Diagnostic::new(soft.span.clone(), "`soft_limit` is above `hard_limit`")
                    .related(hard.span.clone(), "the hard limit")
                    .help("from `soft_limit` on connections wait, from `hard_limit` on they are refused"),
            );
        }
        let soft_limit = soft.map_or(most, |soft| soft.value);
        Some(value.at(ServiceLimits { soft_limit, hard_limit: most }))
    })
}

pub(crate) fn queue(value: Value<'_>) -> Option<At<Queue>> {
    value.section(|queue| {
        let length = queue.optional("length", |it| it.number(0..=1_000_000_u32));
        let timeout = queue.optional("timeout", duration);
        let default = Queue::default();
        Some(value.at(Queue {
            length: length.unwrap_or(default.length),
            timeout: timeout.unwrap_or(default.timeout),
        }))
    })
}
