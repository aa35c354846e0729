//! Probes which servers speak HTTP/2 without TLS, where clients are offered h2 on their behalf.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time,
};
use tracing::{debug, info, warn};

use super::{keyed_tasks::KeyedTasks, proxy_header::encode};
use crate::{
    exhaustion::FailureCause,
    fleet::{Backend, Fleet},
    service::{Port, ProxyProtocol, Service},
};

/// The interval for servers without a check.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(5);
/// Probes at a time; others wait.
const AT_ONCE: usize = 16;
/// The time over which first probes are spread.
const SPREAD: Duration = Duration::from_millis(500);

/// The client's preface, and the frames that it begins and ends with: an empty SETTINGS, and GOAWAY
/// without an error (RFC 9113 3.4, 6.5, 6.8).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; FRAME_HEADER] = [0, 0, 0, SETTINGS_TYPE, 0, 0, 0, 0, 0];
const SETTINGS_TYPE: u8 = 4;
const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const FRAME_HEADER: usize = 9;

/// The running probes. They stop on drop.
#[derive(Default)]
pub struct H2cProbes {
    probes: KeyedTasks<(Arc<str>, SocketAddr), ProbedBackend>,
}

/// A backend that is probed, and how.
#[derive(Clone)]
struct ProbedBackend {
    service: Arc<Service>,
    backend: Arc<Backend>,
    proxy_proto: Option<ProxyProtocol>,
}

/// It is the same while nothing of its service changed.
impl PartialEq for ProbedBackend {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.service, &other.service) && Arc::ptr_eq(&self.backend, &other.backend)
    }
}

impl H2cProbes {
    /// Starts probing: see [`follow`](Self::follow).
    ///
    /// Call it in a tokio runtime.
    #[must_use]
    pub fn start(fleet: &Fleet) -> Self {
        let mut probes = Self::default();
        probes.follow(fleet);
        probes
    }

    /// Probes the servers of services with a port that depends on it, as often as they are checked.
    pub fn follow(&mut self, fleet: &Fleet) {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let wanted = fleet.services.iter().filter_map(|running| {
            let mut ports = running.service.ports.iter();
            let by_servers = |port: &&Port| port.tls.as_ref().is_some_and(|it| it.alpn_by_servers);
            Some((running, ports.find(by_servers)?.proxy_proto))
        });
        let wanted = wanted.flat_map(|(running, proxy_proto)| {
            running.backends.iter().map(move |backend| {
                let (service, backend) = (running.service.clone(), backend.clone());
                let key = (service.name.clone(), backend.server.address);
                (key, ProbedBackend { service, backend, proxy_proto })
            })
        });
        self.probes.follow(wanted, |_, probed| {
            let ProbedBackend { service, backend, proxy_proto } = probed.clone();
            follow(service, backend, proxy_proto, room.clone())
        });
    }
}

async fn follow(
    service: Arc<Service>,
    backend: Arc<Backend>,
    proxy_proto: Option<ProxyProtocol>,
    room: Arc<Semaphore>,
) {
    let check = service.pool.health_check.as_ref();
    let server = backend.server.address;
    time::sleep(SPREAD.mul_f64(fastrand::f64())).await;
    loop {
        let timeout = check.map_or(TIMEOUT, |check| check.timeout);
        let place = room.acquire().await;
        let asked = time::timeout(timeout, speaks_h2c(server, proxy_proto)).await;
        drop(place);
        let answer = match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(speaks) => Some(speaks),
            // This says nothing about the server.
            Err(error) if FailureCause::of(&error) != FailureCause::Peer => None,
            Err(error) => {
                debug!(service = %service.name, %server, %error, "no answer to HTTP/2");
                Some(false)
            }
        };
        if let Some(speaks) = answer
            && backend.set_speaks_h2c(speaks) != speaks
        {
            tell(&service.name, server, speaks);
        }
        let interval = match check {
            None => INTERVAL,
            Some(check) if backend.is_up() => check.interval,
            Some(check) => check.unhealthy_interval,
        };
        time::sleep(interval).await;
    }
}

fn tell(service: &str, server: SocketAddr, speaks: bool) {
    if speaks {
        info!(%service, %server, "speaks HTTP/2 without TLS: clients are offered h2 while all do");
    } else {
        warn!(%service, %server, "no longer speaks HTTP/2: clients are not offered h2");
    }
}

async fn speaks_h2c(server: SocketAddr, proxy_proto: Option<ProxyProtocol>) -> io::Result<bool> {
    let mut stream = TcpStream::connect(server).await?;
    let ends = [stream.local_addr()?, server];
    let announcement = proxy_proto.map(|version| encode(version, ends)).unwrap_or_default();
    stream.write_all(&[&*announcement, PREFACE, &SETTINGS].concat()).await?;
    let mut frame = [0; FRAME_HEADER];
    stream.read_exact(&mut frame).await?;
    // A server's first frame is SETTINGS, too, with six bytes per setting.
    let [.., high, low, kind, flags, a, b, c, d] = frame;
    let is_settings = kind == SETTINGS_TYPE
        && u16::from_be_bytes([high, low]) % 6 == 0
        && (frame[0], flags & 1, [a, b, c, d]) == (0, 0, [0; 4]);
    if is_settings {
        // The result does not matter.
        let _ = stream.write_all(&GOAWAY).await;
    }
    Ok(is_settings)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        fleet::RunningService,
        load::LoadSlot,
        service::{HealthCheck, Pool, Probe, Server, Strategy, TlsOptions},
    };

    /// Starts a server that answers `answer` to what begins with `expected`, and closes.
    async fn server(expected: &'static [u8], answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut read = vec![0; expected.len()];
                let is_expected = stream.read_exact(&mut read).await.is_ok() && read == expected;
                if is_expected {
                    let _ = stream.write_all(answer).await;
                    let _ = stream.shutdown().await;
                    let _ = stream.read_to_end(&mut read).await;
                }
            }
        });
        address
    }

    const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const TWO_SETTINGS: &[u8] = b"\0\0\x0c\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0";

    #[tokio::test]
    async fn a_server_that_answers_with_settings_speaks_it() {
        for (answer, speaks) in [
            (&SETTINGS[..], Some(true)),
            (TWO_SETTINGS, Some(true)),
            // A server must send its SETTINGS before the acknowledgement of ours.
            (b"\0\0\0\x04\x01\0\0\0\0", Some(false)),
            (b"\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0", Some(false)),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", Some(false)),
            (b"HTTP/1.1", None),
            (b"", None),
        ] {
            let address = server(OPENING, answer).await;
            assert_eq!(speaks_h2c(address, None).await.ok(), speaks, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn servers_that_want_to_be_told_who_comes_are() {
        let v1 = server(b"PROXY TCP4 127.0.0.1 127.0.0.1 ", &SETTINGS).await;
        let v2 = server(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0PRI * HTTP/2.0\r\n", &SETTINGS).await;
        assert!(speaks_h2c(v1, Some(ProxyProtocol::V1)).await.unwrap());
        assert!(speaks_h2c(v2, Some(ProxyProtocol::V2)).await.unwrap());
    }

    fn fleet(server: SocketAddr, by_servers: bool) -> Fleet {
        let soon = Duration::from_millis(10);
        let check = HealthCheck {
            interval: soon,
            unhealthy_interval: soon,
            timeout: Duration::from_secs(20),
            ..HealthCheck::plain(Probe::Tcp)
        };
        let server = Server::at(server);
        let pool = Pool::plain(Strategy::P2c, vec![server.clone()]);
        let tls = TlsOptions {
            alpn: vec![],
            alpn_by_servers: by_servers,
            versions: vec![],
            default_self_signed: false,
            client_auth: None,
            forward_client_cert: false,
        };
        let service = Service {
            ports: vec![Port { tls: Some(tls), ..Port::plain(NonZeroU16::MIN) }],
            ..Service::plain("web", Pool { health_check: Some(check), ..pool })
        };
        let backend = Arc::new(Backend::new(server, LoadSlot(0)));
        let running = RunningService::new(Arc::new(service), vec![backend]);
        Fleet::new(vec![Arc::new(running)])
    }

    /// Waits for it; a hang is a failure.
    async fn until(fleet: &Fleet, speaks: bool) {
        let backend = &fleet.services[0].backends[0];
        while backend.speaks_h2c() != speaks {
            time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_a_server_speaks_is_followed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fleet = fleet(listener.local_addr().unwrap(), true);
        let _prefaces = H2cProbes::start(&fleet);
        let answer = async |answer: &[u8]| {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; OPENING.len()]).await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        answer(&SETTINGS).await;
        until(&fleet, true).await;
        answer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        until(&fleet, false).await;
        answer(&SETTINGS).await;
        until(&fleet, true).await;
        drop(listener);
        until(&fleet, false).await;
    }

    #[tokio::test]
    async fn nobody_is_asked_in_vain() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fleet = fleet(listener.local_addr().unwrap(), false);
        let prefaces = H2cProbes::start(&fleet);
        assert_eq!(prefaces.probes.len(), 0);
    }
}
