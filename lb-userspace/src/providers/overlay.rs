//! Orders change a configuration: they lie over it, and it stays as it was written.

use std::sync::Arc;

use crate::{objects::Order, settings::Config};

/// Has `config` be as `orders` say. An order whose server is not there waits for it.
pub fn overlay(config: &mut Config, orders: &[Arc<Order>]) {
    for order in orders {
        let services = config.services.iter_mut();
        let Some(service) = services.into_iter().find(|it| *it.name == *order.target.service)
        else {
            continue;
        };
        let position = |it: &crate::service::Server| it.address == order.target.server;
        let Some(position) = service.pool.servers.iter().position(position) else { continue };
        let changed = &mut Arc::make_mut(service).pool.servers[position];
        changed.weight = order.weight.unwrap_or(changed.weight);
        changed.drain |= order.drain;
    }
}
