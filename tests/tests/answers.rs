//! Room for the answers of many servers: as many flows as the tables are made for, through the
//! loaded program, and no SYN is turned away for want of a place.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use lb::datapath::{DatapathConfig, Population, clock};
use lb_common::{tables::Part, verdict::Reason};
use lb_tests::{
    kernel::steered::{Network, Steered},
    lab::topology::VIP4,
};

/// Half-open and established ones each: together half of the places for answers, which is what
/// sizes that are powers of two come to at most.
const FLOWS: u32 = 4096;
const PORT: u16 = 9000;

fn client(number: u32) -> SocketAddr {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 0).to_bits() + number / 8);
    SocketAddr::new(address.into(), 40_000 + (number % 8) as u16)
}

/// Servers at `hosts` addresses, each with so many `ports`.
fn fills(hosts: u16, ports: u16) -> Result<()> {
    let network = Network::create("answers", hosts.into());
    let config = DatapathConfig {
        max_flows: FLOWS,
        max_half_open: FLOWS,
        backends: 4096,
        services: 16,
        vips: 16,
        ..DatapathConfig::default()
    };
    let servers = (0..hosts * ports).map(|number| {
        let (host, port) = (11 + number % hosts, 8000 + number / hosts);
        format!("{{ address = \"10.2.0.{host}:{port}\" }}")
    });
    let service = format!(
        "[[services]]\nname = \"s\"\naddresses = [\"{VIP4}\"]\nports = [{{ port = {PORT} }}]\n\
         [services.load_balancer]\nstrategy = \"wrr\"\nservers = [{}]\n",
        servers.collect::<Vec<_>>().join(", ")
    );
    network.netns.within(|| {
        let mut steered = Steered::load_with(&network, config)?;
        steered.configure(&service)?;
        let vip = SocketAddr::new(IpAddr::from(VIP4), PORT);
        for number in 0..FLOWS {
            steered.shake_hands(client(number), vip)?;
        }
        for number in FLOWS..2 * FLOWS {
            steered.open(client(number), vip)?;
        }
        let verdicts = steered.datapath.counters.verdicts()?;
        ensure!(verdicts.dropped(Reason::PortsExhausted) == 0);
        let Population { established, half_open, .. } =
            steered.datapath.sweeper.sweep(clock::now()).population;
        // A bucket that is full of half-open flows gives the oldest up for the next.
        ensure!(
            established + half_open > u64::from(2 * FLOWS) * 49 / 50,
            "{established} {half_open}"
        );
        let (answers, room) =
            (steered.datapath.flows.answers(), steered.datapath.flows.room_for_answers());
        ensure!(answers as u64 == established + half_open, "{answers} answers");
        ensure!(answers * 50 > room * 24, "{answers} of {room} is no test");
        ensure!(steered.datapath.flows.room(Part::Established) as u32 == 2 * FLOWS);
        Ok(())
    })?
}

#[test]
fn two_thousand_servers() -> Result<()> {
    fills(40, 50)
}

#[test]
fn three_servers() -> Result<()> {
    fills(3, 1)
}
