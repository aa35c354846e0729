//! The frames that are measured, and what the program must do with each.

use lb_common::testing::{
    Frame,
    frames::{Link, tcp, udp},
    world::{
        BACKEND_PORT, BACKENDS, CLIENTS, FIRST_SOURCE_PORT, SOURCES, TCP_PORT, UDP_PORT, VIPS,
        socket,
    },
};

pub struct Case {
    pub name: String,
    /// Sent once before, so that the measured frame's flow is known. `None`: every measured frame
    /// opens a flow of its own.
    pub opening: Option<Frame>,
    pub frame: Frame,
}

const CLIENT_PORT: u16 = 40000;
/// All headers of a rewritten packet lie within what the bench puts back, so frames are longer.
const PAYLOAD: [u8; 64] = [0x61; 64];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, name) in ["v4", "v6"].into_iter().enumerate() {
        cases.extend(known(family, &format!("nat {name} tcp known flow"), true));
    }
    cases.extend(known(0, "nat v4 udp known flow", false));
    let client = socket(CLIENTS[0], CLIENT_PORT);
    cases.push(Case {
        name: "nat v4 syn new flow".to_owned(),
        opening: None,
        frame: tcp(Link::default(), client, socket(VIPS[0], TCP_PORT), "S", &PAYLOAD),
    });
    cases
}

/// Both directions of one flow.
fn known(family: usize, name: &str, is_tcp: bool) -> [Case; 2] {
    let client = socket(CLIENTS[family], CLIENT_PORT);
    let vip = socket(VIPS[family], if is_tcp { TCP_PORT } else { UDP_PORT });
    let backend = socket(BACKENDS[family], BACKEND_PORT);
    let source = socket(SOURCES[family], FIRST_SOURCE_PORT);
    let make = |from, to, flags: &str| {
        let link = Link::default();
        if is_tcp { tcp(link, from, to, flags, &PAYLOAD) } else { udp(link, from, to, &PAYLOAD) }
    };
    let opening = make(client, vip, "S");
    let case = |direction, frame| Case {
        name: format!("{name}, {direction}"),
        opening: Some(opening.clone()),
        frame,
    };
    [case("to backend", make(client, vip, "A")), case("to client", make(backend, source, "A"))]
}
