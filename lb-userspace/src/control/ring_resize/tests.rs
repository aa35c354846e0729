use super::*;
use crate::control::{
    fixture::{TestWorld, one, port, run, service},
    plan,
};
use crate::service::{Service, Strategy};

fn serving(name: &str, servers: usize) -> Service {
    let vip = if name == "one" { "203.0.113.1" } else { "203.0.113.2" };
    let servers: Vec<String> = (1..=servers).map(|n| format!("10.0.0.{n}:80")).collect();
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    service(name, &[vip], vec![port(80, &[])], &servers)
}

/// Returns tables that hold what these services want, with sources towards more servers.
fn world(services: Vec<Service>) -> TestWorld {
    let mut world = TestWorld::of(services);
    for n in 1..=9 {
        world.sources.insert([10, 0, 0, n].into(), one([10, 0, 0, 254].into()));
    }
    world.follow();
    world
}

/// Returns what is reported when the service at this place becomes another.
fn told(world: &mut TestWorld, place: usize, service: Service) -> Option<RingResize> {
    world.fleet.services[place] = run(service, &mut world.ids);
    world.update();
    let plan = plan(&world.desired, &world.actual).unwrap();
    ring_resize(&plan, &world.desired, &world.actual)
}

fn ring(service: &str, from: u32, to: u32) -> Ring {
    Ring { service: service.into(), from, to }
}

#[test]
fn a_server_more_than_a_ring_is_for_is_told() {
    let mut world = world(vec![serving("one", 2), serving("two", 2)]);
    let told = told(&mut world, 1, serving("two", 3)).unwrap();
    assert_eq!(told.rings, [ring("two", 256, 512)]);
    assert_eq!((told.keeps, told.settles), (None, Some(512)), "no size is small enough");
}

#[test]
fn a_size_that_keeps_every_ring_is_named() {
    let mut world = world(vec![serving("one", 2), serving("two", 3)]);
    world.maglev_size = Some(1021);
    let told = told(&mut world, 0, serving("one", 2)).unwrap();
    // Only the changed ring is built again; the other one needs 512 in any case.
    assert_eq!(told.rings, [ring("one", 256, 1021)]);
    assert_eq!((told.keeps, told.settles), (Some(256), Some(1021)));
}

#[test]
fn servers_that_come_and_go_within_a_length_are_not_told() {
    let mut world = world(vec![serving("one", 4)]);
    assert_eq!(told(&mut world, 0, serving("one", 3)), None);
}

#[test]
fn one_server_more_or_less_than_one_is_not_told() {
    let mut world = world(vec![serving("one", 1), serving("two", 2)]);
    assert_eq!(told(&mut world, 0, serving("one", 2)), None);
    assert_eq!(told(&mut world, 1, serving("two", 1)), None);
}

#[test]
fn rings_that_no_hash_is_looked_up_in_are_not_told() {
    let mut dealt = serving("one", 2);
    dealt.pool.strategy = Strategy::Wrr;
    dealt.steering.strategy = Strategy::Wrr;
    let mut world = world(vec![dealt]);
    assert_eq!(told(&mut world, 0, serving("one", 2)), None, "it was by turns");
}
