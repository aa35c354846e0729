//! The configured services, their ports, pools and servers. Plain validated values, no I/O.

mod check_protocol;
mod defaults;
mod definition;
mod health_check;
mod limits;
mod names;
mod pool;
mod port;
mod quic;
mod splitmix;
mod steering;
mod strategy;
mod tls;
mod wrr;

pub use self::{
    check_protocol::CheckProtocol,
    definition::{Private, Protocol, Service},
    health_check::{HealthCheck, Probe},
    limits::{Concurrency, ConcurrencyKind, Queue, ServiceLimits},
    pool::{Pool, Server},
    port::{Handler, HttpOptions, Opening, Path, Port, ProxyProtocol, Redirect},
    quic::default_server_id,
    splitmix::mix,
    steering::{
        Access, Affinity, FlowTimeouts, Forwarding, Limits, MssClamp, OnBackendDown, Quic, Rate,
        RateLimits, SourcePrefix, SourceRate, Steering, SynFlood, UnknownFlows,
    },
    strategy::Strategy,
    tls::{ClientAuth, TlsOptions, TlsVersion},
    wrr::wrr_sequence,
};
