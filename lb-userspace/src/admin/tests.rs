use std::{
    env, fs,
    io::{self, Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use super::*;

/// A directory of the test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("lb-admin-{}-{number}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("run/admin.sock")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sample() -> Status {
    Status {
        version: "0.1.0".into(),
        uptime_seconds: 7,
        draining_processes: vec![],
        interfaces: vec![InterfaceStatus { name: "eth0".into(), mode: "native".into() }],
        services: vec![ServiceStatus {
            name: "web".into(),
            path: "proxy".into(),
            protocol: "tcp".into(),
            forwarding: None,
            strategy: "p2c".into(),
            addresses: vec!["203.0.113.1".parse().unwrap()],
            ports: vec!["443".into()],
            counts: "requests".into(),
            requests: 3,
            failed: 1,
            no_source_port: 0,
            removed: false,
            backends: vec![BackendStatus {
                address: "10.0.0.1:80".parse().unwrap(),
                up: true,
                draining: false,
                removed: false,
                drain_remaining_ms: None,
                server_id: None,
                weight: 1,
                live: 2,
                unanswered: None,
                taken: 3,
                source_ports: None,
            }],
        }],
        drops: vec![Drops { reason: "fragment".into(), packets: 4 }],
        verdicts: Verdicts::default(),
        handshakes: HandshakeStatus::default(),
        lacks: Vec::new(),
        warnings: Vec::new(),
        certificates: Vec::new(),
        repaired: Vec::new(),
        flows: Flows { live: 1, max: 8, ..Flows::default() },
    }
}

/// Root and this user alone.
fn access() -> Arc<arc_swap::ArcSwap<SocketAccess>> {
    let admin =
        crate::settings::Admin { listen: PathBuf::new(), mode: 0o600, owner: None, group: None };
    Arc::new(arc_swap::ArcSwap::from_pointee(SocketAccess::of(&admin).unwrap()))
}

/// Serves `answer` at `socket` on a thread; runs `ask` meanwhile.
fn while_serving<T>(
    socket: &Path,
    answer: fn() -> anyhow::Result<Status>,
    ask: impl FnOnce() -> T,
) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let door = {
        let _inside = runtime.enter();
        AdminListener::open(socket).unwrap()
    };
    let (orders, mut ordered) = tokio::sync::mpsc::channel(1);
    let context = Context::new(answer, orders, Arc::default(), EventFeed::default(), access());
    let _thread = ApiThread::start(door.serve(context)).unwrap();
    runtime.spawn(async move {
        while let Some(order) = ordered.recv().await {
            let AdminRequest::Drain(Envelope { request: drain, reply: done }) = order else {
                continue;
            };
            let known = drain.service == "web";
            let drained = DrainReply { warning: Some("it was the last".into()) };
            let _ = done.send(known.then_some(drained).ok_or_else(|| "no such service".into()));
        }
    });
    ask()
}

/// What the door answers to raw bytes. If it does not read them all, the system tells the client
/// of a reset after the answer.
fn exchange(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_status_arrives_as_it_was_told() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let status = while_serving(&socket, || Ok(sample()), || client::status(&socket));
    assert_eq!(status.unwrap(), sample());
    assert!(!socket.exists(), "removed with the door");
    assert_eq!(fs::read_dir(socket.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn only_the_owner_may_ask() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let mode = while_serving(
        &socket,
        || Ok(sample()),
        || fs::metadata(&socket).unwrap().permissions().mode(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_second_daemon_is_refused() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    while_serving(
        &socket,
        || Ok(sample()),
        || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let _inside = runtime.enter();
            let error = AdminListener::open(&socket).unwrap_err();
            assert!(matches!(error, AdminError::Running(_)), "{error}");
            assert!(error.to_string().contains("another lb is running"));
            assert!(client::status(&socket).is_ok(), "the first is unharmed");
        },
    );
}

#[test]
fn what_a_crash_left_is_replaced() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    fs::write(socket.with_extension("sock.lock"), "").unwrap();
    let status = while_serving(&socket, || Ok(sample()), || client::status(&socket));
    assert!(status.is_ok());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.0.join("precious");
    fs::write(&path, "data").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let error = AdminListener::open(&path).unwrap_err();
    assert!(matches!(error, AdminError::NoSocket(_)), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
}

#[test]
fn another_program_s_socket_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.0.join("theirs.sock");
    let theirs = UnixListener::bind(&path).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let error = AdminListener::open(&path).unwrap_err();
    assert!(matches!(error, AdminError::Occupied(_)), "{error}");
    assert!(theirs.local_addr().unwrap().as_pathname().is_some_and(Path::exists));
}

#[test]
fn nobody_at_home_is_said_plainly() {
    let scratch = Scratch::new();
    let error = client::status(&scratch.socket()).unwrap_err();
    assert!(format!("{error:#}").contains("no lb is running"), "{error:#}");
    let deserted = scratch.0.join("deserted.sock");
    drop(UnixListener::bind(&deserted).unwrap());
    let error = client::status(&deserted).unwrap_err();
    assert!(format!("{error:#}").contains("no lb is running"), "{error:#}");
}

#[test]
fn a_socket_that_somebody_removed_is_opened_again() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let directory = socket.parent().unwrap();
    let removals: [&dyn Fn(); 3] = [
        &|| fs::remove_file(&socket).unwrap(),
        &|| fs::remove_dir_all(directory).unwrap(),
        &|| {
            fs::remove_file(&socket).unwrap();
            drop(UnixListener::bind(&socket).unwrap());
        },
    ];
    while_serving(
        &socket,
        || Ok(sample()),
        || {
            for (number, remove) in removals.into_iter().enumerate() {
                assert!(client::status(&socket).is_ok());
                remove();
                assert!(client::status(&socket).is_err(), "{number}");
                let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
                while client::status(&socket).is_err() {
                    assert!(std::time::Instant::now() < patience, "{number}: never opened again");
                    thread::sleep(std::time::Duration::from_millis(50));
                }
            }
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let _inside = runtime.enter();
            assert!(
                matches!(AdminListener::open(&socket), Err(AdminError::Running(_))),
                "still locked"
            );
        },
    );
}

#[test]
fn a_failing_source_is_an_error_at_the_other_end() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let broken = || Err(anyhow::anyhow!("no counters"));
    let error = while_serving(&socket, broken, || client::status(&socket)).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("500") && error.contains("no counters"), "{error}");
}

#[test]
fn other_requests_are_refused() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    while_serving(
        &socket,
        || Ok(sample()),
        || {
            let close = "host: lb\r\nconnection: close\r\n\r\n";
            let post = exchange(&socket, &format!("POST /v1/status HTTP/1.1\r\n{close}"));
            assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
            assert!(post.contains("allow: GET"), "{post}");
            let other = exchange(&socket, &format!("GET /v2 HTTP/1.1\r\n{close}"));
            assert!(other.starts_with("HTTP/1.1 404 "), "{other}");
            let endless = format!("GET /v1/status HTTP/1.1\r\nx: {}", "a".repeat(20_000));
            let endless = exchange(&socket, &endless);
            assert!(endless.starts_with("HTTP/1.1 431 "), "{endless}");
        },
    );
}

#[test]
fn of_many_that_start_at_once_one_runs() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let open = || {
        let _inside = runtime.enter();
        AdminListener::open(&socket)
    };
    let doors: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(doors.iter().filter(|door| door.is_ok()).count(), 1);
}

#[test]
fn an_order_arrives_and_its_answer_comes_back() {
    let scratch = Scratch::new();
    let order = |service: &str| DrainRequest {
        service: service.into(),
        server: "10.0.0.1:80".parse().unwrap(),
        deadline_ms: Some(30_000),
        undo: false,
    };
    let socket = scratch.socket();
    while_serving(
        &socket,
        || Ok(sample()),
        || {
            client::drain(&socket, &order("web")).unwrap();
            let refused = client::drain(&socket, &order("other")).unwrap_err();
            assert_eq!(format!("{refused:#}"), "no such service", "alone");
        },
    );
}
