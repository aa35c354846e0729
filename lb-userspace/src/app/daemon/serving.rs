//! What runs once the daemon serves, and follows its configuration.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{
    admin::AdminHandover,
    app::{operator::status_report::ReportedService, reconcile::check_routes::CheckRoutes},
    health::{H2cProbes, Monitor},
    proxy::{CertificateStore, Routes, Running},
};

pub(crate) struct Serving {
    pub(crate) proxy: ProxySide,
    pub(crate) checks: Checks,
    pub(crate) reported: Arc<ArcSwap<Vec<ReportedService>>>,
    /// Whether this process sweeps the flow table.
    pub(crate) sweeping: watch::Sender<bool>,
    /// Shares the admin socket.
    pub(crate) admin: AdminHandover,
}

/// The running proxy, and what it was given.
pub(crate) struct ProxySide {
    pub(crate) running: Running,
    pub(crate) routes: Arc<ArcSwap<Routes>>,
    pub(crate) certificates: Arc<CertificateStore>,
}

/// The running checks. They stop on drop.
pub(crate) struct Checks {
    pub(crate) monitor: Monitor,
    pub(crate) probes: H2cProbes,
    pub(crate) routes: CheckRoutes,
    /// Descriptors that are kept back for them, and for the rest of the daemon.
    pub(crate) reserved: u64,
}
