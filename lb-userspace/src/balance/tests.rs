use std::{net::IpAddr, sync::Arc};

use super::*;
use crate::{
    load::{LoadSlot, Permit, Tick},
    service::{Concurrency, ConcurrencyKind, Pool, Server, Service},
    settings::Geography,
};

const ALL: [Strategy; 6] = [
    Strategy::P2c,
    Strategy::PeakEwma,
    Strategy::Maglev,
    Strategy::LeastConn,
    Strategy::Wrr,
    Strategy::Random,
];
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

struct Bench {
    balancer: Balancer,
    load: Load,
    rng: fastrand::Rng,
    permits: Vec<Permit>,
    now: Tick,
}

impl Bench {
    fn new(strategy: Strategy, weights: &[u16]) -> Self {
        let servers: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(index, &weight)| {
                let address = format!("10.0.0.{}:80", index + 1).parse().unwrap();
                Server { weight, ..Server::at(address) }
            })
            .collect();
        let backends = servers
            .iter()
            .enumerate()
            .map(|(slot, server)| Arc::new(Backend::new(server.clone(), LoadSlot(slot as u32))))
            .collect();
        let service = Service {
            addresses: vec![CLIENT],
            concurrency: Concurrency {
                kind: ConcurrencyKind::Requests,
                soft_limit: 20,
                hard_limit: Some(25),
            },
            ..Service::plain("web", Pool::plain(strategy, servers))
        };
        Self {
            balancer: Balancer::new(
                Arc::new(RunningService::new(Arc::new(service), backends)),
                Arc::default(),
            ),
            load: Load::local(weights.len()),
            rng: fastrand::Rng::with_seed(7),
            permits: vec![],
            now: Tick(0),
        }
    }

    /// Returns backends in `regions`, called `m-1`, `m-2`, …
    fn placed(regions: &[&str], geography: Geography) -> Self {
        let mut bench = Self::new(Strategy::P2c, &vec![1; regions.len()]);
        let service = bench.balancer.service();
        let backend = |(index, region): (usize, &&str)| {
            let old = &service.backends[index];
            let region = Some((*region).into()).filter(|_| !region.is_empty());
            let instance = Some(format!("m-{}", index + 1).into());
            let server = Server { region, instance, ..old.server.clone() };
            Arc::new(Backend::new(server, old.slot))
        };
        let backends = regions.iter().enumerate().map(backend).collect();
        let service = RunningService::new(service.service.clone(), backends);
        bench.balancer = Balancer::new(Arc::new(service), Arc::new(geography));
        bench
    }

    /// Returns all backends that are picked in many tries.
    fn picks(&mut self, preference: &Preference) -> Result<Vec<usize>, Unavailable> {
        let request = PickRequest {
            load: &self.load,
            client: CLIENT,
            tried: &[],
            preference,
            now: self.now,
            is_free: &|_| false,
        };
        let picks = (0..100).map(|_| self.balancer.pick(&request, &mut self.rng));
        let mut picks = picks.collect::<Result<Vec<_>, _>>()?;
        picks.sort_unstable();
        picks.dedup();
        Ok(picks)
    }

    fn load_up(&mut self, slot: u32, connections: usize) {
        let load = &self.load;
        self.permits.extend((0..connections).map(|_| load.enter(LoadSlot(slot))));
    }

    fn pick_for(&mut self, client: IpAddr, tried: &[usize]) -> Result<usize, Unavailable> {
        let preference = &Preference::NONE;
        let request = PickRequest {
            load: &self.load,
            client,
            tried,
            preference,
            now: self.now,
            is_free: &|_| false,
        };
        self.balancer.pick(&request, &mut self.rng)
    }

    fn pick(&mut self) -> Result<usize, Unavailable> {
        self.pick_for(CLIENT, &[])
    }

    fn shares(&mut self, picks: usize) -> Vec<usize> {
        let mut shares = vec![0; self.balancer.service().backends.len()];
        for _ in 0..picks {
            shares[self.pick().unwrap()] += 1;
        }
        shares
    }
}

#[test]
fn of_two_backends_p2c_takes_the_less_loaded() {
    let mut bench = Bench::new(Strategy::P2c, &[1, 1]);
    bench.load_up(0, 1);
    assert_eq!(bench.shares(100), [0, 100]);
}

#[test]
fn load_is_measured_against_weight() {
    let mut bench = Bench::new(Strategy::P2c, &[10, 1]);
    bench.load_up(0, 5);
    bench.load_up(1, 1);
    assert_eq!(bench.shares(100), [100, 0]);
}

#[test]
fn idle_backends_share_by_weight_and_weight_zero_gets_nothing() {
    let mut bench = Bench::new(Strategy::P2c, &[3, 0, 1]);
    let shares = bench.shares(40_000);
    assert_eq!(shares[1], 0);
    assert!((29_000..31_000).contains(&shares[0]), "{shares:?}");
}

#[test]
fn the_most_loaded_of_many_is_never_taken() {
    let mut bench = Bench::new(Strategy::P2c, &[1; 10]);
    bench.load_up(4, 1);
    assert_eq!(bench.shares(10_000)[4], 0);
}

#[test]
fn a_single_survivor_among_many_is_found() {
    let mut bench = Bench::new(Strategy::P2c, &[1; 200]);
    for backend in &bench.balancer.service().backends[1..] {
        backend.set_up(false);
    }
    assert_eq!(bench.shares(100)[0], 100);
}

#[test]
fn under_soft_is_preferred_and_hard_is_never_reached() {
    for strategy in ALL {
        let mut bench = Bench::new(strategy, &[100, 1]);
        bench.load_up(0, 20);
        bench.load_up(1, 19);
        assert_eq!(bench.shares(50), [0, 50]);
        bench.load_up(1, 6);
        assert_eq!(bench.shares(50), [50, 0]);
        bench.load_up(0, 5);
        assert_eq!(bench.pick(), Err(Unavailable::Full));
    }
}

#[test]
fn without_a_backend_that_is_up_there_is_no_choice() {
    let mut bench = Bench::new(Strategy::P2c, &[1, 1]);
    assert_eq!(bench.pick_for(CLIENT, &[0, 1]), Err(Unavailable::Down));
    assert_eq!(bench.pick_for(CLIENT, &[0]), Ok(1));
    bench.balancer.service().backends[1].set_up(false);
    assert_eq!(bench.pick_for(CLIENT, &[0]), Err(Unavailable::Down));
}

#[test]
fn a_client_address_keeps_its_backend_while_others_go() {
    let mut bench = Bench::new(Strategy::Maglev, &[1, 1, 2]);
    let clients: Vec<IpAddr> = (0..4000u32).map(|n| std::net::Ipv4Addr::from(n).into()).collect();
    let before: Vec<_> = clients.iter().map(|&c| bench.pick_for(c, &[]).unwrap()).collect();
    let heavy = before.iter().filter(|&&index| index == 2).count();
    assert!((1850..2150).contains(&heavy), "{heavy} of 4000 on half the weight");
    bench.balancer.service().backends[1].set_up(false);
    for (&client, &was) in clients.iter().zip(&before) {
        let now = bench.pick_for(client, &[]).unwrap();
        assert!(now == was || was == 1);
    }
}

#[test]
fn idle_backends_share_by_weight_within_two_percent() {
    const PICKS: usize = 100_000;
    let weights = [1, 2, 1];
    for strategy in [Strategy::P2c, Strategy::LeastConn, Strategy::Wrr, Strategy::Random] {
        let shares = Bench::new(strategy, &weights).shares(PICKS);
        for (&share, weight) in shares.iter().zip(weights) {
            let fair = PICKS * usize::from(weight) / 4;
            let off = share.abs_diff(fair);
            assert!(off * 50 <= fair, "{strategy:?}: {shares:?}");
        }
    }
}

#[test]
fn the_least_connections_win_by_weight() {
    let mut bench = Bench::new(Strategy::LeastConn, &[1, 1, 4]);
    bench.load_up(0, 2);
    bench.load_up(1, 1);
    bench.load_up(2, 3);
    assert_eq!(bench.shares(10), [0, 0, 10], "3 of weight 4 are fewer than 1 of weight 1");
    bench.load_up(2, 2);
    assert_eq!(bench.shares(10), [0, 10, 0]);
}

#[test]
fn turns_are_taken_in_order_and_those_of_the_absent_are_shared() {
    let mut bench = Bench::new(Strategy::Wrr, &[2, 1, 1]);
    let order: Vec<_> = (0..4).map(|_| bench.pick().unwrap()).collect();
    assert_eq!(order, [0, 1, 2, 0]);
    bench.balancer.service().backends[0].set_up(false);
    assert_eq!(bench.shares(1000), [0, 500, 500]);
}

#[test]
fn a_draining_backend_takes_nothing_new() {
    for strategy in ALL {
        let mut bench = Bench::new(strategy, &[1, 1]);
        bench.balancer.service().backends[0].set_draining(true);
        assert_eq!(bench.shares(20), [0, 20], "{strategy:?}");
        bench.balancer.service().backends[0].set_draining(false);
        bench.balancer.service().backends[1].set_up(false);
        assert_eq!(bench.shares(20), [20, 0], "{strategy:?}");
    }
}

impl Bench {
    fn took(&self, index: usize, micros: u32) {
        self.balancer.service().backends[index].state.latency.observe(self.now, micros);
    }
}

#[test]
fn of_two_backends_peak_ewma_takes_the_one_that_answers_sooner() {
    let mut bench = Bench::new(Strategy::PeakEwma, &[1, 1]);
    bench.took(0, 1_000);
    bench.took(1, 3_500);
    assert_eq!(bench.shares(100), [100, 0]);
    // Two are waiting there already: a third would take as long as one here.
    bench.load_up(0, 2);
    assert_eq!(bench.shares(100), [100, 0]);
    bench.load_up(0, 1);
    assert_eq!(bench.shares(100), [0, 100]);
}

#[test]
fn the_slowest_of_many_is_not_taken_until_it_is_forgotten() {
    let mut bench = Bench::new(Strategy::PeakEwma, &[1; 4]);
    for index in 0..4 {
        bench.took(index, if index == 2 { 200_000 } else { 1_000 });
    }
    assert_eq!(bench.shares(1_000)[2], 0);
    bench.now = Tick(60_000);
    for index in [0, 1, 3] {
        bench.took(index, 1_000);
    }
    assert!(bench.shares(1_000)[2] > 0, "it may have become better");
}

#[test]
fn of_one_that_has_not_answered_yet_nothing_more_is_wanted() {
    let mut bench = Bench::new(Strategy::PeakEwma, &[1, 1]);
    bench.took(0, 1_000);
    assert_eq!(bench.shares(10), [0, 10], "a new one is tried");
    bench.load_up(1, 1);
    assert_eq!(bench.shares(10), [10, 0]);
}

#[test]
fn equally_fast_backends_share_by_weight() {
    let mut bench = Bench::new(Strategy::PeakEwma, &[3, 0, 1]);
    for index in 0..3 {
        bench.took(index, 1_000);
    }
    let shares = bench.shares(40_000);
    assert_eq!(shares[1], 0);
    assert!((29_000..31_000).contains(&shares[0]), "{shares:?}");
    bench.load_up(0, 3);
    bench.load_up(2, 2);
    assert_eq!(bench.shares(10), [10, 0, 0], "three of weight 3 are fewer than two of weight 1");
}

fn from_fra() -> Geography {
    Geography {
        local: Some("fra".into()),
        nearby: vec!["ams".into(), "lhr".into()],
        groups: [("us".into(), vec!["iad".into(), "ord".into()])].into(),
    }
}

#[test]
fn the_nearest_region_with_room_goes_first() {
    let mut bench = Bench::placed(&["fra", "fra", "lhr", "ams", "sjc"], from_fra());
    assert_eq!(bench.picks(&Preference::NONE), Ok(vec![0, 1]));
    // Exceeding the soft limit is no reason to go far; reaching the hard limit is.
    bench.load_up(0, 20);
    bench.load_up(1, 24);
    assert_eq!(bench.picks(&Preference::NONE), Ok(vec![0]));
    bench.load_up(0, 5);
    bench.load_up(1, 1);
    assert_eq!(bench.picks(&Preference::NONE), Ok(vec![3]));
    bench.balancer.service().backends[3].set_up(false);
    assert_eq!(bench.picks(&Preference::NONE), Ok(vec![2]));
    bench.balancer.service().backends[2].set_up(false);
    assert_eq!(bench.picks(&Preference::NONE), Ok(vec![4]));
}

#[test]
fn servers_without_a_region_are_here_and_without_ours_all_are() {
    assert_eq!(
        Bench::placed(&["", "fra", "ams"], from_fra()).picks(&Preference::NONE),
        Ok(vec![0, 1])
    );
    let nowhere = Geography { local: None, ..from_fra() };
    assert_eq!(
        Bench::placed(&["", "fra", "ams"], nowhere).picks(&Preference::NONE),
        Ok(vec![0, 1, 2])
    );
}

#[test]
fn wished_regions_go_before_near_ones_and_alone_where_strict() {
    let regions = ["fra", "ams", "ord", "iad", "sjc"];
    let mut bench = Bench::placed(&regions, from_fra());
    let preference = |names: &[&str], is_strict| Preference {
        regions: names.iter().map(|&name| name.into()).collect(),
        is_strict,
        ..Preference::NONE
    };
    for (names, first) in [
        (&["sjc", "ams"][..], &[4][..]),
        (&["us", "sjc"], &[2, 3]),
        (&["mars", "ams"], &[1]),
        (&["mars"], &[0]),
        (&["any"], &[0]),
    ] {
        assert_eq!(bench.picks(&preference(names, false)).as_deref(), Ok(first), "{names:?}");
    }
    assert_eq!(bench.picks(&preference(&["mars"], true)), Err(Unavailable::Elsewhere));
    assert_eq!(bench.picks(&preference(&["mars", "any"], true)), Ok(vec![0]));
    bench.load_up(4, 25);
    assert_eq!(bench.picks(&preference(&["sjc"], true)), Err(Unavailable::Full));
    assert_eq!(bench.picks(&preference(&["sjc"], false)), Ok(vec![0]));
}

#[test]
fn an_instance_is_preferred_or_demanded() {
    let mut bench = Bench::placed(&["fra", "ams", "ams"], from_fra());
    let place = |name: &str| Location::Instance(name.into());
    let prefer = |name| Preference { target: Target::Prefer(place(name)), ..Preference::NONE };
    let only = |name| Preference { target: Target::Only(place(name)), ..Preference::NONE };
    assert_eq!(bench.picks(&prefer("m-3")), Ok(vec![2]));
    assert_eq!(bench.picks(&only("m-3")), Ok(vec![2]));
    assert_eq!(bench.picks(&prefer("m-9")), Ok(vec![0]));
    assert_eq!(bench.picks(&only("m-9")), Err(Unavailable::Elsewhere));
    bench.load_up(2, 25);
    assert_eq!(bench.picks(&prefer("m-3")), Ok(vec![0]));
    assert_eq!(bench.picks(&only("m-3")), Err(Unavailable::Full));
    bench.balancer.service().backends[1].set_up(false);
    assert_eq!(bench.picks(&only("m-2")), Err(Unavailable::Elsewhere));
    let excluded = Some(bench.balancer.service().backends[0].server.address);
    assert_eq!(bench.picks(&Preference { excluded, ..Preference::NONE }), Err(Unavailable::Full));
}

#[test]
fn many_of_the_heaviest_weight_are_not_too_many() {
    const MANY: usize = 70_000;
    let mut rng = fastrand::Rng::with_seed(1);
    let wheel = WeightedSampler::new((0..MANY).map(|_| u16::MAX));
    let drawn: Vec<_> = (0..100).filter_map(|_| wheel.draw(|_| true, &mut rng)).collect();
    assert_eq!(drawn.len(), 100);
    assert!(drawn.iter().any(|&it| it < MANY / 2) && drawn.iter().any(|&it| it >= MANY / 2));
    let last = wheel.draw(|index| index == MANY - 1, &mut rng);
    assert_eq!(last, Some(MANY - 1));
    assert!(least_conn::pick(|_| u16::MAX, 0..MANY, |_| 0, &mut rng).is_some());
}
