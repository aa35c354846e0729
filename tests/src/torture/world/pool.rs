//! The servers of one service, as they change.

use std::{fmt::Write as _, net::SocketAddr};

use crate::dice::Dice;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::torture) struct Server {
    pub address: SocketAddr,
    pub weight: u16,
    pub drain: bool,
}

/// Whichever change comes, each family of the addresses that it may have keeps a server that takes
/// what is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::torture) struct Pool {
    pub servers: Vec<Server>,
    /// All that there may be.
    pub known: Vec<SocketAddr>,
    /// Those that stay as they are.
    pub fixed: Vec<SocketAddr>,
}

impl Pool {
    pub(super) fn of(known: &[SocketAddr], fixed: &[SocketAddr]) -> Self {
        let servers = if fixed.is_empty() { known } else { fixed };
        let server = |&address| Server { address, weight: 1, drain: false };
        let servers = servers.iter().map(server).collect();
        Self { servers, known: known.to_vec(), fixed: fixed.to_vec() }
    }

    /// Anything from one server to all of them, in any order; most stay as they were.
    pub(super) fn change_members(&mut self, dice: &mut Dice) {
        for address in self.known.clone() {
            if self.fixed.contains(&address) || dice.one_in(2) {
                continue;
            }
            let place = self.servers.iter().position(|server| server.address == address);
            match place {
                Some(place) => drop(self.servers.remove(place)),
                None => {
                    let place = dice.below(self.servers.len() + 1);
                    self.servers.insert(place, Server { address, weight: 1, drain: false });
                }
            }
        }
        self.keep_serving(dice);
    }

    pub(super) fn change_weight(&mut self, dice: &mut Dice) {
        if let Some(server) = self.any(dice) {
            server.weight = dice.pick(&[0, 1, 2, 5, 100]);
        }
        self.keep_serving(dice);
    }

    pub(super) fn change_drain(&mut self, dice: &mut Dice) {
        if let Some(server) = self.any(dice) {
            server.drain = !server.drain;
        }
        self.keep_serving(dice);
    }

    fn any(&mut self, dice: &mut Dice) -> Option<&mut Server> {
        let fixed = &self.fixed;
        let mut free: Vec<_> =
            self.servers.iter_mut().filter(|server| !fixed.contains(&server.address)).collect();
        (!free.is_empty()).then(|| free.swap_remove(dice.below(free.len())))
    }

    fn keep_serving(&mut self, dice: &mut Dice) {
        for is_v4 in [true, false] {
            let family = |address: &SocketAddr| address.is_ipv4() == is_v4;
            let known: Vec<_> = self.known.iter().copied().filter(family).collect();
            let serves = |it: &Server| family(&it.address) && it.weight > 0 && !it.drain;
            if known.is_empty() || self.servers.iter().any(serves) {
                continue;
            }
            let address = dice.pick(&known);
            self.servers.retain(|server| server.address != address);
            self.servers.push(Server { address, weight: 1, drain: false });
        }
    }

    /// As the items of a TOML list.
    pub(super) fn toml(&self) -> String {
        let mut text = String::new();
        for Server { address, weight, drain } in &self.servers {
            let _ = write!(text, "{{ address = \"{address}\", weight = {weight}");
            let _ = write!(text, "{} }}, ", if *drain { ", drain = true" } else { "" });
        }
        text
    }
}
