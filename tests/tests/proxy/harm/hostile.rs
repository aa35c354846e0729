//! Clients that mean harm: none of them may hold what others need. The daemon has one worker, which
//! serves an honest client while it is attacked.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{
        certificates::issue,
        client::{Stream, curl, header},
        servers,
    },
    lab::{
        process::Process,
        stage::Stage,
        topology::{Lab, VIP4, VIP6},
    },
    measure::cpu,
};

use crate::{APP, VIPS, python_program, server};

/// More than any of these attacks may make the daemon hold, in KiB: for one connection, and what
/// the allocator keeps. `bounds` measures what many can.
const HEADROOM: f64 = 24.0 * 1024.0;

const ATTACKS: [(&str, &str, &[&str]); 10] = [
    // By name: how many frames at most, and how it may end.
    ("reset", "6000", &["cut off"]),
    ("made-to-reset", "6000", &["cut off"]),
    ("continuation", "6000", &["cut off"]),
    ("empty-continuation", "6000", &["cut off"]),
    // Answered or ignored one by one, which the client must take.
    ("settings", "6000", &["cut off", "held back", "sent all"]),
    ("ping", "6000", &["cut off", "held back", "sent all"]),
    ("empty-data", "6000", &["cut off", "held back", "sent all"]),
    ("table", "500", &["cut off", "held back", "sent all"]),
    ("bomb", "500", &["cut off", "held back", "sent all"]),
    ("no-window", "50", &["cut off", "sent all"]),
];

fn web(lab: &Lab) -> Result<String> {
    let certificate = issue(lab.directory(), "app", &[APP])?.toml();
    Ok(format!(
        r#"[proxy]
header_timeout = "2s"
handshake_timeout = "2s"
idle_timeout = "3s"

{certificate}[[services]]
name = "web"
addresses = ["{VIP4}", "{VIP6}"]
ports = [{{ port = 80, handlers = ["http"] }}, {{ port = 443, handlers = ["tls", "http"] }}]
load_balancer.servers = [{}]
"#,
        server(lab, 0, servers::HTTP)
    ))
}

/// The same, with time enough to count those who use it up.
fn patient(lab: &Lab) -> Result<String> {
    let short = "header_timeout = \"2s\"\nhandshake_timeout = \"2s\"\nidle_timeout = \"3s\"";
    Ok(web(lab)?.replace(short, "header_timeout = \"8s\"\nidle_timeout = \"12s\""))
}

fn stage() -> Result<Stage> {
    Stage::up_with("workers = 1", web)
}

/// Somebody who only wants an answer gets one.
fn serves(stage: &Stage, vip: IpAddr) -> Result<()> {
    let to = format!("::{}:", SocketAddr::new(vip, 0).to_string().trim_end_matches(":0"));
    let url = format!("http://{APP}/bytes/5");
    let answer = curl(&stage.lab.client, &["--connect-to", &to, &url])?;
    ensure!((answer.status, &*answer.body) == (200, "xxxxx"), "{answer:?}");
    Ok(())
}

fn memory(stage: &Stage) -> Result<f64> {
    cpu::resident(&[stage.daemon.id()])
}

/// Attacks, and serves meanwhile; how the attack ended, and the most memory that was seen, in KiB.
fn attack(stage: &Stage, name: &str, count: &str) -> Result<(String, f64)> {
    let mut command = stage.lab.client.command(xtask::python::interpreter());
    let vip = VIPS[0].to_string();
    command.arg(python_program("hostile.py")).args([name, &vip, count]);
    let mut client = Process::start(name, command, &stage.lab.directory().join(name))?;
    let mut most = 0.0_f64;
    loop {
        serves(stage, VIPS[1])?;
        most = most.max(memory(stage)?);
        let said = client.output();
        if said.ends_with('\n') {
            client.wait()?;
            return Ok((said, most));
        }
        client.check()?;
    }
}

#[test]
fn floods_of_http2_frames_hold_nothing() -> Result<()> {
    let stage = stage()?;
    serves(&stage, VIPS[0])?;
    let before = memory(&stage)?;
    for (name, count, ends) in ATTACKS {
        let (said, most) = attack(&stage, name, count).with_context(|| name.to_owned())?;
        eprintln!("{name}: {}; {} KiB more", said.trim(), most - before);
        assert!(most - before < HEADROOM, "{name}: {} KiB more", most - before);
        assert!(ends.iter().any(|end| said.starts_with(end)), "{name}: {said}");
    }
    stage.daemon.when_quiet()?;
    stage.stop()
}

#[test]
fn ten_thousand_idle_connections_are_little_and_end() -> Result<()> {
    const SILENT: usize = 10_000;
    const KEPT: usize = 1_000;
    /// Of each, in KiB. A debug build's tasks are larger than those that users run.
    const OF_SILENT: f64 = 8.0;
    const OF_KEPT: f64 = 48.0;
    let stage = Stage::up_with("workers = 1", patient)?;
    serves(&stage, VIPS[0])?;
    let before = memory(&stage)?;
    let at = SocketAddr::new(VIPS[0], 80);
    let ask = || -> Result<Stream> {
        let mut stream = Stream::connect(at)?;
        let head = stream.ask("GET /bytes/5 HTTP/1.1\r\nHost: a\r\n\r\n")?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
        stream.take(5)?;
        Ok(stream)
    };
    let ask_all = || (0..KEPT).map(|_| ask()).collect::<Result<Vec<_>>>();
    let mut kept = stage.lab.client.within(ask_all)??;
    let with_kept = memory(&stage)?;
    let open = || (0..SILENT).map(|_| Ok(TcpStream::connect(at)?)).collect::<Result<Vec<_>>>();
    let mut silent = stage.lab.client.within(open)??;
    let each_kept = (with_kept - before) / KEPT as f64;
    let each_silent = (memory(&stage)? - with_kept) / SILENT as f64;
    eprintln!("{each_silent:.1} KiB for each silent connection, {each_kept:.1} for each kept one");
    assert!(each_silent < OF_SILENT, "{each_silent} KiB");
    assert!(each_kept < OF_KEPT, "{each_kept} KiB");
    serves(&stage, VIPS[1])?;
    // Nobody asks anything, and the time for that ends.
    for stream in &mut silent {
        use std::io::Read as _;
        let read = stream.read(&mut [0]);
        ensure!(!matches!(read, Ok(1..)), "an answer without a question");
    }
    kept.iter_mut().try_for_each(|stream| stream.rest().map(drop))?;
    serves(&stage, VIPS[0])?;
    stage.stop()
}

#[test]
fn those_who_are_slow_on_purpose_are_cut_off() -> Result<()> {
    let stage = stage()?;
    let at = SocketAddr::new(VIPS[0], 80);
    stage.lab.client.within(|| -> Result<()> {
        // A handshake and a preface that begin and do not go on.
        let mut handshake = Stream::connect(SocketAddr::new(VIPS[0], 443))?;
        handshake.send_bytes(&[22, 3, 1, 2, 0, 1])?;
        let mut preface = Stream::connect(at)?;
        preface.send("PRI * HT")?;
        // Header by header, each soon after the one before, and the whole never.
        let mut slow: Vec<_> = (0..50).map(|_| Stream::connect(at)).collect::<Result<_>>()?;
        for stream in &mut slow {
            stream.send("GET / HTTP/1.1\r\nHost: a\r\n")?;
        }
        let mut drips = Stream::connect(at)?;
        drips.send("GET / HTTP/1.1\r\n")?;
        while drips.send("X: y\r\n").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
        for stream in &mut slow {
            let head = stream.head()?;
            assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
            assert_eq!(header(&head, "fly-error"), Some("slow-header"));
        }
        assert_eq!(handshake.rest()?, "");
        assert_eq!(preface.rest()?, "");
        // A body that does not come.
        let mut silent = Stream::connect(at)?;
        let head = silent.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")?;
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
        assert_eq!(header(&head, "fly-error"), Some("slow-body"));
        // A response that is not taken.
        let mut lazy = Stream::connect(at)?;
        lazy.send("GET /bytes/100000000 HTTP/1.1\r\nHost: a\r\n\r\n")?;
        stage.daemon.when("the response is under way", |status| status.live() == 1)?;
        stage.daemon.when_quiet()?;
        Ok(())
    })??;
    serves(&stage, VIPS[1])?;
    stage.stop()
}
