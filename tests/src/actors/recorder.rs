//! A backend that writes down every byte it is sent, to show what never was.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::Result;

use crate::lab::netns::Netns;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nrecorded";

/// Ends when the namespace's last socket does, with the test.
#[derive(Clone, Default)]
pub struct Recorder {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    /// Serves `address` inside `netns`.
    pub fn start(netns: &Netns, address: SocketAddr) -> Result<Self> {
        let listener = netns.within(|| TcpListener::bind(address))??;
        let recorder = Self::default();
        let shared = recorder.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let recorder = shared.clone();
                thread::spawn(move || recorder.record(stream));
            }
        });
        Ok(recorder)
    }

    /// Everything so far, of all connections, in the order in which it came.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn record(&self, mut stream: TcpStream) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let read = &buffer[..length];
            self.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(read);
            // Requests without a body come in one piece from a balancer on the same host.
            if read.starts_with(b"GET") && read.ends_with(b"\r\n\r\n") {
                let _ = stream.write_all(ANSWER);
            }
        }
    }
}
