//! Services that are reached from inside only.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::{client::curl, servers},
    lab::{
        netns::Netns,
        stage::Stage,
        topology::{CLIENT4, CLIENT6, INNER4, INNER6, INTERFACES, Lab, VIP4, VIP6},
    },
};

use crate::{VIPS, seen, server};

const BY_INTERFACE: u16 = 8001;
const BY_NETWORK: u16 = 8002;
const BY_BOTH: u16 = 8003;
const PUBLIC: u16 = 8004;

fn services(lab: &Lab) -> String {
    let [up, down] = INTERFACES;
    let networks = format!("networks = [\"{CLIENT4}/32\", \"{CLIENT6}\"]");
    let services = [
        (BY_INTERFACE, format!("private = {{ interfaces = [\"{down}\", \"wg0\"] }}")),
        (BY_NETWORK, format!("private = {{ {networks} }}")),
        (BY_BOTH, format!("private = {{ interfaces = [\"{down}\"], {networks} }}")),
        (PUBLIC, format!("# by {up} and {down}")),
    ];
    let service = |(port, private): &(u16, String)| {
        format!(
            "[[services]]\nname = \"on-{port}\"\naddresses = [\"{VIP4}\", \"{VIP6}\"]\n{private}\n\
             ports = [{{ port = {port}, handlers = [\"http\"] }}]\n\
             load_balancer.servers = [{}]\n\n",
            server(lab, 0, servers::HTTP)
        )
    };
    services.iter().map(service).collect()
}

/// Whether `from` is served there. Who is not must be told so by a reset.
fn is_served(from: &Netns, vip: IpAddr, port: u16) -> Result<bool> {
    match curl(from, &[&format!("http://{}/", SocketAddr::new(vip, port))]) {
        Ok(answer) => {
            seen(&answer)?["server"].as_str().context("a server")?;
            Ok(true)
        }
        // curl may see the reset before it has written its request.
        Err(error) => {
            let said = error.to_string();
            let is_reset = said.contains("reset by peer") || said.contains("Couldn't connect");
            if is_reset { Ok(false) } else { Err(error) }
        }
    }
}

#[test]
fn private_services_are_reached_from_inside_only() -> Result<()> {
    let stage = Stage::up(|lab| Ok(services(lab)))?;
    let (outside, inside) = (&stage.lab.client, &stage.lab.backends[1].netns);
    inside.ip(&format!("route add {VIP4}/32 via {INNER4}"))?;
    inside.ip(&format!("-6 route add {VIP6}/128 via {INNER6}"))?;
    for vip in VIPS {
        for (port, from_outside, from_inside) in [
            (BY_INTERFACE, false, true),
            (BY_NETWORK, true, false),
            (BY_BOTH, false, false),
            (PUBLIC, true, true),
        ] {
            assert_eq!(is_served(outside, vip, port)?, from_outside, "{vip} {port} from outside");
            assert_eq!(is_served(inside, vip, port)?, from_inside, "{vip} {port} from inside");
        }
    }
    stage.stop()
}
