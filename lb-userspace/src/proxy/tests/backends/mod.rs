//! Which backend gets a request, and what becomes of it there.

mod failing;
mod h2_backend;
mod h2_streams;
mod kept_connections;
mod queue;
mod queue_order;
mod replay;
