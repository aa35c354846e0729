//! What the host's own network must have: routes, forwarding, neighbours; and undoing it.
