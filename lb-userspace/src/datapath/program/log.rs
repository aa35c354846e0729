//! Forwards the kernel program's messages to the daemon's log. Only in builds with the feature
//! `kernel-log`, whose object writes them.

use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;
use tracing::warn;

use super::kernel::Kernel;
use crate::datapath::bpf::{error::DatapathError, programs::lock};

impl Kernel {
    /// Returns a future that forwards the messages to the `log` crate; run it beside everything
    /// else. Call this once, in a tokio runtime, after a logger has been installed.
    ///
    /// # Errors
    ///
    /// The object has no map for messages, or they were taken already.
    pub fn forward_log(
        &mut self,
    ) -> Result<impl Future<Output = ()> + Send + 'static, DatapathError> {
        let logger = EbpfLogger::init(&mut lock(&self.programs)).map_err(|error| {
            DatapathError::Object(format!("messages of the kernel program: {error}"))
        })?;
        // SAFETY: the logger owns the ring buffer's descriptor and never replaces it.
        let messages = unsafe { AsyncFd::register(logger) };
        let messages = messages.map_err(|error| DatapathError::Log(error.into()))?;
        Ok(forward(messages))
    }
}

async fn forward(mut messages: AsyncFd<EbpfLogger<impl log::Log>>) {
    loop {
        let mut ready = match messages.readable_mut().await {
            Ok(ready) => ready,
            Err(error) => {
                warn!(%error, "messages of the kernel program have ended");
                return;
            }
        };
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}
