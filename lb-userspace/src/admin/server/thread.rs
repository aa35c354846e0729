//! The thread of the API: its clients slow nothing else.

use std::{convert::Infallible, io, thread};

use tokio::sync::oneshot;

/// Runs until it is dropped.
#[derive(Debug)]
pub struct ApiThread {
    end: Option<oneshot::Sender<Infallible>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl ApiThread {
    /// Runs `serve` on a thread of its own.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn start(serve: impl Future<Output = Infallible> + Send + 'static) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel::<Infallible>();
        let serve = async move {
            tokio::select! {
                never = serve => match never {},
                _ = ended => {}
            }
        };
        let thread = thread::Builder::new().name("lb-api".to_owned());
        let thread = thread.spawn(move || runtime.block_on(serve))?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for ApiThread {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}
