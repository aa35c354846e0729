//! A server of HTTP/2 that does frame by frame what a test says, and knows nothing of headers.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::backend::{self, Listening};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
/// `:status: 200`, by the static table.
const OK: u8 = 0x88;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Does {
    /// The answer is the connection's number and the length of the body.
    Answers,
    /// When the header section has come.
    RefusesAtOnce,
    /// When all of the body has come.
    RefusesAtLast,
    /// When all of the body has come, which it may have done something with.
    Fails,
    /// The connection goes away, and has looked at none of its requests from this one on.
    GoesAwayAtOnce,
    GoesAwayAtLast,
    /// It goes away in two steps (RFC 9113 6.8), and answers.
    GoesAwayInOrder,
    Hangs,
    /// Takes no byte of the body, which holds all of the connection's window.
    Stalls,
}

pub(crate) struct Server {
    pub listening: Listening,
    /// The most streams of a connection that were open together.
    pub most: Arc<AtomicUsize>,
    /// Streams of all connections that are open.
    pub open: Arc<AtomicUsize>,
}

/// One that allows `allowed` streams, and does what `script` says of the connection and the request
/// on it. Its settings come only when the client has said its own.
pub(crate) async fn server(
    allowed: u32,
    script: impl Fn(usize, usize) -> Does + Clone + Send + Sync + 'static,
) -> Server {
    let (most, open) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counts = (most.clone(), open.clone());
    let listening = backend::raw(move |stream, number| {
        let (most, open) = counts.clone();
        let script = script.clone();
        async move {
            let mut connection = Connection { stream, number, most, open, streams: HashMap::new() };
            let _ = connection.serve(allowed, &script).await;
            connection.open.fetch_sub(connection.streams.len(), Ordering::SeqCst);
        }
    })
    .await;
    Server { listening, most, open }
}

struct Connection {
    stream: TcpStream,
    number: usize,
    most: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    /// What becomes of each, and what has come of its body.
    streams: HashMap<u32, (Does, usize)>,
}

impl Connection {
    async fn serve(
        &mut self,
        allowed: u32,
        script: &impl Fn(usize, usize) -> Does,
    ) -> std::io::Result<()> {
        let mut preface = [0; 24];
        self.stream.read_exact(&mut preface).await?;
        let mut requests = 0;
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let (kind, flags) = (head[3], head[4]);
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await?;
            match kind {
                SETTINGS if flags & ACK == 0 => {
                    let limit = [&[0, 3][..], &allowed.to_be_bytes()].concat();
                    self.send(SETTINGS, 0, 0, &limit).await?;
                    self.send(SETTINGS, ACK, 0, &[]).await?;
                }
                PING if flags & ACK == 0 => self.send(PING, ACK, 0, &payload).await?,
                HEADERS => {
                    let does = script(self.number, requests);
                    requests += 1;
                    self.begin(id, does).await?;
                    if flags & END_STREAM != 0 {
                        self.end(id).await?;
                    }
                }
                DATA => {
                    let stalls = self.streams.get(&id).is_some_and(|it| it.0 == Does::Stalls);
                    if stalls {
                        continue;
                    }
                    if length > 0 {
                        self.send(WINDOW_UPDATE, 0, 0, &length.to_be_bytes()).await?;
                    }
                    if let Some((_, body)) = self.streams.get_mut(&id) {
                        *body += length as usize;
                        if flags & END_STREAM != 0 {
                            self.end(id).await?;
                        } else if length > 0 {
                            self.send(WINDOW_UPDATE, 0, id, &length.to_be_bytes()).await?;
                        }
                    }
                }
                RST_STREAM => self.forget(id),
                _ => {}
            }
        }
    }

    async fn begin(&mut self, id: u32, does: Does) -> std::io::Result<()> {
        self.streams.insert(id, (does, 0));
        self.open.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(self.streams.len(), Ordering::SeqCst);
        match does {
            Does::RefusesAtOnce => self.refuse(id).await,
            Does::GoesAwayAtOnce => self.go_away(id).await,
            Does::GoesAwayInOrder => {
                self.send(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]).await?;
                let last = [id.to_be_bytes(), [0; 4]].concat();
                self.send(GOAWAY, 0, 0, &last).await
            }
            _ => Ok(()),
        }
    }

    /// All of a request has come.
    async fn end(&mut self, id: u32) -> std::io::Result<()> {
        let Some(&(does, body)) = self.streams.get(&id) else { return Ok(()) };
        match does {
            Does::RefusesAtLast => self.refuse(id).await,
            Does::Fails => self.reset(id, INTERNAL_ERROR).await,
            Does::GoesAwayAtLast => self.go_away(id).await,
            Does::Answers | Does::GoesAwayInOrder => {
                let text = format!("{} {body}", self.number);
                self.forget(id);
                self.send(HEADERS, END_HEADERS, id, &[OK]).await?;
                self.send(DATA, END_STREAM, id, text.as_bytes()).await
            }
            _ => Ok(()),
        }
    }

    async fn refuse(&mut self, id: u32) -> std::io::Result<()> {
        self.reset(id, REFUSED_STREAM).await
    }

    async fn reset(&mut self, id: u32, reason: u32) -> std::io::Result<()> {
        self.forget(id);
        self.send(RST_STREAM, 0, id, &reason.to_be_bytes()).await
    }

    async fn go_away(&mut self, id: u32) -> std::io::Result<()> {
        self.forget(id);
        let last = [id.saturating_sub(2).to_be_bytes(), [0; 4]].concat();
        self.send(GOAWAY, 0, 0, &last).await
    }

    fn forget(&mut self, id: u32) {
        if self.streams.remove(&id).is_some() {
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    async fn send(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> std::io::Result<()> {
        let length = payload.len() as u32;
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(id.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).await
    }
}
