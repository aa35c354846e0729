//! Connections to servers that idle make way where descriptors run out, whatever they speak.

use anyhow::{Result, ensure};
use lb_tests::{
    actors::{client::Stream, servers},
    lab::{
        process::output,
        stage::Stage,
        topology::{Lab, VIP4},
    },
};

use crate::{python_server, server};

const PORT: u16 = 9000;
/// Open files that the daemon may have: its own take about half.
const FEW: u32 = 256;
/// More than all of them.
const MANY: &str = "300";

fn by_both(lab: &Lab) -> Result<String> {
    let service = |name: &str, port: u16, options: &str, index: usize, at: u16| {
        let servers = server(lab, index, at);
        let server = servers.split(',').next().unwrap_or_default().trim();
        format!(
            "[[services]]\nname = \"{name}\"\naddresses = [\"{VIP4}\"]\n\
             ports = [{{ port = {port}, handlers = [\"http\"]{options} }}]\n\
             load_balancer.servers = [{server}]\n\n"
        )
    };
    let h2 = ", http_options = { h2_backend = true }";
    Ok(service("h2", 81, h2, 0, PORT) + &service("web", 80, "", 1, servers::HTTP))
}

#[test]
fn idle_connections_to_servers_make_way() -> Result<()> {
    let stage = Stage::up_short_of_files(FEW, by_both)?;
    let _server = python_server(&stage.lab, "h2_one_stream.py", PORT)?;
    // Each request has a connection of its own there, and all of these idle afterwards.
    let mut h2load = stage.lab.client.command("h2load");
    h2load.args(["-n", MANY, "-c", "3", "-m", "100", &format!("http://{VIP4}:81/")]);
    let said = output(&mut h2load)?;
    ensure!(stage.daemon.status()?.undone("connections_to_servers") > 0, "{said}");
    // Both the clients and what they ask for want more than h2load has given back.
    let asked = stage.lab.client.within(|| -> Result<Vec<(Stream, String)>> {
        let ask = |_| {
            let mut client = Stream::connect((VIP4, 80).into())?;
            let head = client.ask("GET /hold HTTP/1.1\r\nHost: any\r\n\r\n")?;
            Ok((client, head))
        };
        (0..8).map(ask).collect()
    })??;
    for (_, head) in &asked {
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    stage.release()?;
    drop(asked);
    stage.stop()
}
