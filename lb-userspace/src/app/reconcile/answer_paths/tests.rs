use super::*;
use crate::{
    load::LoadSlot,
    service::{HealthCheck, Pool, Port, Probe, Server, Strategy},
};

fn interface(index: u32, name: &str) -> Interface {
    let name = name.to_owned();
    Interface { index, name, vlan: None, bond: None, bridge: None, shares: None, loopback: false }
}

fn fleet(forwarding: Forwarding) -> Fleet {
    let server = Server::at("10.0.0.1:80".parse().unwrap());
    let mut pool = Pool::plain(Strategy::P2c, vec![server.clone()]);
    pool.health_check = Some(HealthCheck::plain(Probe::Tcp));
    let mut service = Service::plain("web", pool);
    service.ports = vec![Port::plain(std::num::NonZeroU16::MIN)];
    service.steering.forwarding = forwarding;
    let backend = Arc::new(Backend::new(server, LoadSlot(0)));
    Fleet::new(vec![Arc::new(RunningService::new(Arc::new(service), vec![backend]))])
}

fn problems(answers: &AnswerPaths) -> String {
    answers.problems.load().values().map(|text| &**text).collect()
}

#[test]
fn what_comes_in_where_nobody_looks_is_told() {
    let interfaces = [interface(1, "up"), interface(2, "down")];
    for (forwarding, watched, told) in [
        (Forwarding::Nat, "up", true),
        (Forwarding::Nat, "down", false),
        (Forwarding::L2, "up", false),
        (Forwarding::Ipip, "up", false),
    ] {
        let (fleet, mut answers) = (fleet(forwarding), AnswerPaths::default());
        answers.follow_routes(&fleet, |_| Some(2), &interfaces, &|it| it.name == watched);
        answers.follow_flows(&fleet, |_| ServerAnswers::default());
        let said = problems(&answers);
        assert_eq!(said.contains("answers of server 10.0.0.1 come in by `down`"), told, "{said}");
        assert_eq!(said.is_empty(), !told);
    }
}

#[test]
fn a_server_that_never_answers_is_told_until_it_does() {
    let (nat, mut answers) = (fleet(Forwarding::Nat), AnswerPaths::default());
    let mut after = |fleet: &Fleet, answered, unanswered| {
        answers.follow_flows(fleet, |_| ServerAnswers { answered, unanswered });
        problems(&answers).contains("10.0.0.1:80 has answered no connection")
    };
    assert!(!after(&nat, 0, 0), "nobody asked");
    assert!(after(&nat, 0, 1));
    assert!(!after(&nat, 1, 1), "one that was lost");
    assert!(!after(&fleet(Forwarding::Gue), 0, 1), "we see no answers");
    nat.services[0].backends[0].set_up(false);
    assert!(!after(&nat, 0, 1), "it is down, and everybody knows");
}
