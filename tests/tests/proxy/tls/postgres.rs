//! `pg_tls` between libpq and real servers.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{
        certificates::issue,
        postgres::{self, PORT, ask, conninfo, psql},
    },
    lab::{
        process::{Process, output, poll},
        stage::Stage,
        topology::{Lab, VIP4, VIP6, vips},
    },
};
use nix::sys::signal::Signal;

use crate::{APP, OTHER, TRUSTED, WILD, server};

const DATABASE: u16 = 5433;

fn database(lab: &Lab) -> Result<String> {
    let certificate = issue(lab.directory(), "app", &[APP, WILD])?;
    std::fs::copy(&certificate.cert, lab.directory().join(TRUSTED))?;
    let all: Vec<_> = (0..3).map(|index| server(lab, index, PORT)).collect();
    Ok(certificate.toml()
        + &format!(
            "[[services]]\nname = \"db\"\naddresses = [\"{VIP4}\", \"{VIP6}\"]\n\
             ports = [{{ port = {DATABASE}, handlers = [\"pg_tls\"] }}]\n\
             load_balancer.servers = [{}]\n",
            all.join(", ")
        ))
}

/// The servers end before the stage that they run on.
fn up() -> Result<(Vec<Process>, Stage)> {
    let stage = Stage::up(database)?;
    Ok((postgres::start_all(&stage.lab)?, stage))
}

fn roots(stage: &Stage) -> String {
    format!("sslrootcert={}", stage.lab.directory().join(TRUSTED).display())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn psql_reaches_plaintext_servers_over_tls() -> Result<()> {
    let (_servers, stage) = up()?;
    let roots = roots(&stage);
    // The server sees no TLS; the client says that it has it.
    let query = "select ssl, inet_server_addr() from pg_stat_ssl where pid = pg_backend_pid()";
    let mut answered = BTreeSet::new();
    for vip in vips(DATABASE) {
        for options in [
            "sslmode=require".to_owned(),
            format!("sslmode=verify-full {roots}"),
            format!("sslmode=verify-full ssl_max_protocol_version=TLSv1.2 {roots}"),
        ] {
            for _ in 0..8 {
                let answer = output(&mut psql(&stage.lab, &conninfo(vip, APP, &options), query))?;
                let (ssl, address) = answer.trim().split_once('|').context("two columns")?;
                assert_eq!(ssl, "f", "{options}");
                answered.insert(address.to_owned());
            }
        }
        let shown =
            output(&mut psql(&stage.lab, &conninfo(vip, APP, "sslmode=require"), "\\conninfo"))?;
        assert!(shown.contains("SSL connection (protocol: TLSv1.3"), "{shown}");
    }
    assert!(answered.len() > 3, "only {answered:?} answered");

    for (host, options, complaint) in [
        (APP, "sslmode=disable".to_owned(), "this port takes only encrypted connections"),
        (OTHER, format!("sslmode=verify-full {roots}"), "unrecognized name"),
        (APP, "sslmode=verify-full sslrootcert=/dev/null".to_owned(), "certificate"),
    ] {
        let query =
            psql(&stage.lab, &conninfo(vips(DATABASE)[0], host, &options), "select 1").output()?;
        let said = said(&query);
        assert!(!query.status.success() && said.contains(complaint), "{options}: {said}");
    }
    stage.daemon.when_quiet()?;
    stage.stop()
}

#[test]
fn psql_cancels_the_query_of_its_own_session() -> Result<()> {
    let (_servers, stage) = up()?;
    let lab = &stage.lab;
    let to = conninfo(vips(DATABASE)[0], APP, "sslmode=require");
    let start = |number: usize| {
        let log = lab.directory().join(format!("psql-{number}.log"));
        Process::start("psql", psql(lab, &to, "select pg_sleep(86400)"), &log)
    };
    let mut sessions = (0..9).map(start).collect::<Result<Vec<_>>>()?;
    let asleep = || -> Result<Vec<usize>> {
        let query = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
        lab.backends.iter().map(|backend| Ok(ask(backend, query)?.parse()?)).collect()
    };
    let mut left = sessions.len();
    poll("every session sleeps", || Ok(asleep()?.iter().sum::<usize>() == left))?;
    ensure!(asleep()?.iter().filter(|count| **count > 0).count() > 1, "all on one server");
    for session in &mut sessions {
        session.signal(Signal::SIGINT)?;
        let status = session.wait()?;
        let said = session.output();
        assert!(!status.success(), "{said}");
        assert!(said.contains("canceling statement due to user request"), "{said}");
        left -= 1;
        assert_eq!(asleep()?.iter().sum::<usize>(), left, "others were woken");
    }
    stage.daemon.when_quiet()?;
    stage.stop()
}

/// The port asks for a certificate; the servers know nothing of it.
#[test]
fn psql_shows_its_certificate_where_it_is_asked_for() -> Result<()> {
    let stage = Stage::up(|lab| {
        issue(lab.directory(), "ann", &["ann"])?;
        issue(lab.directory(), "bob", &["bob"])?;
        let ca = lab.directory().join("ann.pem");
        let asks = format!("handlers = [\"pg_tls\"], tls_options = {{ client_ca = {ca:?} }}");
        Ok(database(lab)?.replace("handlers = [\"pg_tls\"]", &asks))
    })?;
    let _servers = postgres::start_all(&stage.lab)?;
    let directory = stage.lab.directory();
    let identity = |stem: &str| {
        let file = |name: String| directory.join(name).display().to_string();
        format!(
            "sslcert={} sslkey={}",
            file(format!("{stem}.pem")),
            file(format!("{stem}-key.pem"))
        )
    };
    for vip in vips(DATABASE) {
        for version in ["TLSv1.2", "TLSv1.3"] {
            let query = |identity: &str| -> Result<(bool, String)> {
                let options = format!(
                    "sslmode=verify-full ssl_min_protocol_version={version} \
                     ssl_max_protocol_version={version} {} {identity}",
                    roots(&stage)
                );
                let answer =
                    psql(&stage.lab, &conninfo(vip, APP, &options), "select 1").output()?;
                Ok((answer.status.success(), said(&answer)))
            };
            assert_eq!(query(&identity("ann"))?, (true, "1\n".to_owned()), "{vip} {version}");
            for (identity, complaint) in
                [(identity("nobody"), "certificate required"), (identity("bob"), "unknown ca")]
            {
                let (done, said) = query(&identity)?;
                assert!(!done && said.contains(complaint), "{version} {identity}: {said}");
            }
        }
    }
    let status = stage.daemon.when_quiet()?;
    assert_eq!(status.failed_handshakes("bad_client_certificate"), Some(8), "{status:?}");
    stage.stop()
}

/// libpq 18: TLS from the first byte on, offers of protocol 3.2, and cancel requests inside TLS.
#[test]
fn a_new_libpq_begins_with_tls_and_cancels_inside_it() -> Result<()> {
    const SCRIPT: &str = r#"
import sys, threading, psycopg
assert psycopg.pq.version() >= 180000, psycopg.pq.version()
for info in sys.argv[1:]:
    with psycopg.connect(info) as session:
        assert session.pgconn.ssl_in_use
        (ssl,) = session.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchone()
        assert ssl is False, ssl
        done = threading.Event()
        def cancel():
            while not done.wait(0.1):
                session.cancel_safe(timeout=30)
        canceller = threading.Thread(target=cancel)
        canceller.start()
        try:
            session.execute("select pg_sleep(86400)")
            raise SystemExit("not cancelled")
        except psycopg.errors.QueryCanceled:
            pass
        finally:
            done.set()
            canceller.join()
    print("ok")
"#;
    let (_servers, stage) = up()?;
    let roots = roots(&stage);
    let python = xtask::python::interpreter();
    let mut infos = Vec::new();
    for vip in vips(DATABASE) {
        for negotiation in ["direct", "postgres"] {
            let options = format!("sslnegotiation={negotiation} sslmode=verify-full {roots}");
            infos.push(conninfo(vip, APP, &options));
            infos.push(conninfo(vip, APP, &format!("{options} max_protocol_version=latest")));
        }
    }
    let mut script: Command = stage.lab.client.command(python);
    let said = output(script.arg("-c").arg(SCRIPT).args(&infos))?;
    assert_eq!(said.lines().filter(|line| *line == "ok").count(), infos.len(), "{said}");
    stage.daemon.when_quiet()?;
    stage.stop()
}
