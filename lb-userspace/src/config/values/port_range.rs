//! `port`, or `start_port` and `end_port`: the numbers that a port stands for.

use std::num::NonZeroU16;

use crate::config::text::{diagnostic::Diagnostic, reader::At, scalar, section::Section};

/// Reads the first and the last number, and where they are written.
pub(crate) fn port_range(port: &mut Section<'_>) -> Option<At<(NonZeroU16, NonZeroU16)>> {
    let number = |it| Some(At { value: scalar::port(it)?, span: it.span() });
    let first = port.optional("start_port", number);
    let last = port.optional("end_port", number);
    let given = ["start_port", "end_port"].map(|key| port.key_span(key));
    match given.clone() {
        [None, None] => {
            let single = port.required("port", "port = 443", number)?;
            return Some(At { value: (single.value, single.value), span: single.span });
        }
        [Some(_), Some(_)] => {}
        [Some(span), None] => refuse_half(port, span, "end_port"),
        [None, Some(span)] => refuse_half(port, span, "start_port"),
    }
    port.optional("port", number);
    if let (Some(single), Some(range)) = (port.key_span("port"), given.into_iter().flatten().next())
    {
        let message = "`port` beside a range of ports";
        let one = Diagnostic::new(single, message).related(range, "the range").help(HELP);
        port.report().push(one);
        return None;
    }
    let (first, last) = (first?, last?);
    if first.value <= last.value {
        return Some(At { value: (first.value, last.value), span: first.span });
    }
    let message = format!("`end_port` {} is below `start_port` {}", last.value, first.value);
    port.report().push(
        Diagnostic::new(last.span, message)
            .related(first.span, "the range begins here")
            .help("both ends belong to the range"),
    );
    None
}

const HELP: &str = "write either `port`, or `start_port` and `end_port`";

fn refuse_half(port: &Section<'_>, span: std::ops::Range<usize>, missing: &str) {
    let message = format!("a range of ports without `{missing}`");
    port.report().push(Diagnostic::new(span, message).help(HELP));
}
