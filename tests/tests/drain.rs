//! Ends: of the daemon by SIGTERM, and of clients that take too long.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use lb_tests::{
    actors::{
        certificates::issue,
        client::{Stream, curl, header},
        held::{Held, hold},
        servers,
    },
    lab::{
        process::{PATIENCE, Process, poll},
        stage::{Stage, listed, service},
        topology::{Lab, VIP4, VIP6},
    },
};
use nix::sys::signal::Signal;

const NAME: &str = "app.example.test";

fn services(lab: &Lab, proxy: &str) -> Result<String> {
    let certificate = issue(lab.directory(), "app", &[NAME])?.toml();
    let servers = listed(&servers::addresses(lab, servers::HTTP));
    Ok(format!(
        r#"[proxy]
{proxy}

{certificate}[[services]]
name = "web"
addresses = ["{VIP4}", "{VIP6}"]
ports = [
  {{ port = 80, handlers = ["http"] }},
  {{ port = 443, handlers = ["tls", "http"] }},
  {{ port = 8443, handlers = ["tls"] }},
]
load_balancer.servers = [{servers}]
"#
    ))
}

fn connect(stage: &Stage, port: u16) -> Result<Stream> {
    stage.lab.client.within(|| Stream::connect((VIP4, port).into()))?
}

/// Requests whose responses are under way, on every way in.
fn hold_all_ways(stage: &Stage) -> Result<Vec<Held>> {
    let to = format!("::{VIP4}:");
    let ways = [
        ("--http1.1", "http://", ""),
        ("--http2-prior-knowledge", "http://", ""),
        ("--http1.1", "https://", ""),
        ("--http2", "https://", ""),
        ("--http1.1", "https://", ":8443"),
        ("--http2", "https://", ":8443"),
    ];
    let asks = ways.map(|(version, scheme, port)| {
        (vec![version, "--connect-to", &to], format!("{scheme}{NAME}{port}/hold"))
    });
    hold(&stage.lab, 2, &asks)
}

fn wait_for_refusal(stage: &Stage) -> Result<()> {
    for port in [80, 443, 8443] {
        for to in [SocketAddr::from((VIP4, port)), (VIP6, port).into()] {
            poll("new connections are refused", || {
                let attempt = || TcpStream::connect_timeout(&to, PATIENCE);
                match stage.lab.client.within(attempt)? {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
                    Err(error) => Err(error.into()),
                    Ok(_) => Ok(false),
                }
            })?;
        }
    }
    Ok(())
}

#[test]
fn what_is_under_way_ends_in_order() -> Result<()> {
    let mut stage = Stage::up(|lab| services(lab, "drain_timeout = \"10m\""))?;
    let held = hold_all_ways(&stage)?;
    // Before their responses have begun.
    let mut waiting = connect(&stage, 80)?;
    waiting.send("GET /wait HTTP/1.1\r\nHost: any\r\n\r\n")?;
    let mut nghttp = stage.lab.client.command("nghttp");
    nghttp.args(["--verbose", "--no-dep", &format!("http://{VIP4}/wait")]);
    let log = stage.lab.directory().join("nghttp.log");
    let mut nghttp = Process::start("nghttp", nghttp, &log)?;
    // Between two requests.
    let mut idle = connect(&stage, 80)?;
    ensure!(idle.ask("HEAD / HTTP/1.1\r\nHost: any\r\n\r\n")?.starts_with("HTTP/1.1 200 "));
    let mut tunnel = connect(&stage, 80)?;
    let upgrade = "GET /upgrade HTTP/1.1\r\nHost: any\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    ensure!(tunnel.ask(upgrade)?.starts_with("HTTP/1.1 101 "));
    let all = held.len() as u64 + 3;
    poll("all is under way", || Ok(stage.daemon.status()?.live() == all))?;

    stage.daemon.signal(Signal::SIGTERM)?;
    wait_for_refusal(&stage)?;
    assert_eq!(idle.rest()?, "");
    tunnel.send("still there")?;
    assert_eq!(tunnel.take("still there".len())?, "still there");
    assert_eq!(stage.daemon.status()?.live(), all, "nothing was cut off");
    stage.release()?;
    held.into_iter().try_for_each(Held::finish)?;
    let head = waiting.head()?;
    assert_eq!(header(&head, "connection"), Some("close"), "{head}");
    assert!(waiting.rest()?.starts_with('b'));
    assert!(nghttp.wait()?.success());
    let frames = nghttp.output();
    assert!(frames.contains("recv GOAWAY frame"), "{frames}");
    assert!(frames.contains(":status: 200"), "{frames}");
    tunnel.finish()?;
    assert_eq!(tunnel.rest()?, "");
    let status = stage.daemon.wait()?;
    assert!(status.success(), "{status}: {}", stage.daemon.log());
    Ok(())
}

#[test]
fn what_takes_too_long_is_cut_off() -> Result<()> {
    const WITHIN: Duration = Duration::from_secs(2);
    let mut stage = Stage::up(|lab| services(lab, "drain_timeout = \"2s\""))?;
    let held = hold_all_ways(&stage)?;
    let began = Instant::now();
    stage.daemon.signal(Signal::SIGTERM)?;
    let status = stage.daemon.wait()?;
    assert!(status.success(), "{status}: {}", stage.daemon.log());
    assert!(began.elapsed() >= WITHIN);
    for held in held {
        // curl sees that the response is not whole.
        assert!(held.finish().is_err());
    }
    Ok(())
}

#[test]
fn a_second_signal_cuts_off_at_once() -> Result<()> {
    let mut stage = Stage::up(|lab| services(lab, "drain_timeout = \"10m\""))?;
    let held = hold_all_ways(&stage)?;
    stage.daemon.signal(Signal::SIGTERM)?;
    wait_for_refusal(&stage)?;
    stage.daemon.signal(Signal::SIGTERM)?;
    let status = stage.daemon.wait()?;
    assert!(status.success(), "{status}: {}", stage.daemon.log());
    drop(held);
    Ok(())
}

const HEADER: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(6);

/// A client that stops half-way: where, what it says, and what it may have for that at least.
struct Slow {
    port: u16,
    says: &'static [u8],
    drips: bool,
    allowed: Duration,
    hears: &'static str,
}

const NOTHING: Slow = Slow { port: 80, says: b"", drips: false, allowed: HEADER, hears: "" };

const SLOW: [Slow; 8] = [
    NOTHING,
    Slow { port: 443, ..NOTHING },
    Slow { port: 8443, ..NOTHING },
    // The beginning of a ClientHello of 512 bytes.
    Slow { port: 443, says: b"\x16\x03\x01\x02\x00\x01\x00\x01", drips: true, ..NOTHING },
    Slow { says: b"GET / HTTP/1.1\r\nHost: any\r\nX-Slow: ", drips: true, ..NOTHING },
    Slow {
        says: b"HEAD / HTTP/1.1\r\nHost: any\r\n\r\n",
        allowed: IDLE,
        hears: "HTTP/1.1 200 OK",
        ..NOTHING
    },
    Slow {
        says: b"POST / HTTP/1.1\r\nHost: any\r\nContent-Length: 9\r\n\r\nhalf",
        allowed: IDLE,
        hears: "HTTP/1.1 408 Request Timeout",
        ..NOTHING
    },
    // HTTP/2: the preface, empty SETTINGS, and no request.
    Slow {
        says: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        allowed: IDLE,
        hears: "\0",
        ..NOTHING
    },
];

impl Slow {
    /// Goes on until it is cut off.
    fn run(&self, stage: &Stage) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(100);
        let began = Instant::now();
        let mut stream = connect(stage, self.port)?;
        stream.send_bytes(self.says)?;
        // Writing to a connection that the other side closed fails at the second time.
        while self.drips && stream.send("x").is_ok() {
            ensure!(began.elapsed() < PATIENCE, "was never cut off");
            thread::sleep(PAUSE);
        }
        let heard = stream.rest()?;
        ensure!(heard.starts_with(self.hears), "heard {heard:?}");
        ensure!(began.elapsed() >= self.allowed, "cut off after {:?}", began.elapsed());
        Ok(())
    }
}

#[test]
fn slow_clients_are_cut_off_and_disturb_nobody() -> Result<()> {
    let stage = Stage::up(|lab| {
        let (header, idle) = (HEADER.as_secs(), IDLE.as_secs());
        let proxy = format!(
            "handshake_timeout = \"{header}s\"\nheader_timeout = \"{header}s\"\n\
             idle_timeout = \"{idle}s\""
        );
        services(lab, &proxy)
    })?;
    let left = AtomicUsize::new(SLOW.len());
    thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = SLOW
            .iter()
            .map(|slow| {
                let (left, stage) = (&left, &stage);
                scope.spawn(move || {
                    let result = slow.run(stage);
                    left.fetch_sub(1, Ordering::SeqCst);
                    result
                })
            })
            .collect();
        let to = format!("::{VIP4}:");
        while left.load(Ordering::SeqCst) > 0 {
            for (flag, scheme) in [("--http1.1", "http"), ("--http2", "https")] {
                let url = format!("{scheme}://{NAME}/");
                let arguments = ["--insecure", flag, "--connect-to", &to, &url];
                assert_eq!(curl(&stage.lab.client, &arguments)?.status, 200);
            }
        }
        for (client, slow) in clients.into_iter().zip(&SLOW) {
            let result = client.join().map_err(|_| anyhow!("a panic"))?;
            result.with_context(|| format!("{:?}", String::from_utf8_lossy(slow.says)))?;
        }
        Ok(())
    })?;
    poll("every count is back at 0", || Ok(stage.daemon.status()?.live() == 0))?;
    assert_eq!(service(&stage.daemon.status()?, "web")?.failed, 0);
    stage.stop()
}
