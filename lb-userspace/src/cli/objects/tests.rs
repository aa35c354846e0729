use serde_json::{Value, json};

use super::{edit, flags::ServicesCommand, port_words::PortWords, show};
use crate::objects::{Body, Kind, Listed, ObjectState, Owner};

fn body(value: Value) -> Body {
    match value {
        Value::Object(body) => body,
        other => panic!("{other} is no object"),
    }
}

#[derive(clap::Parser)]
struct Line {
    #[command(subcommand)]
    command: ServicesCommand,
}

/// The body that `create` makes of flags.
fn created(flags: &str) -> Result<Body, String> {
    let line = format!("services create web {flags}");
    let line = <Line as clap::Parser>::try_parse_from(line.split_whitespace());
    match line.map_err(|error| error.to_string())?.command.asked() {
        Ok(super::Asked::Create { body, .. }) => Ok(body),
        Ok(_) => panic!("not create"),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn ports_are_written_in_words() {
    for (words, expected) in [
        ("443:8080/http+tls", json!({"port": 443, "handlers": ["http", "tls"]})),
        ("80/http", json!({"port": 80, "handlers": ["http"]})),
        ("22", json!({"port": 22})),
        ("53/udp", json!({"port": 53})),
        ("5432:5432/tcp", json!({"port": 5432})),
    ] {
        let parsed: PortWords = words.parse().unwrap_or_else(|error| panic!("{words}: {error}"));
        assert_eq!(parsed.json(), expected, "{words}");
    }
    for wrong in ["", "0", "70000", "80:", "80/htp", "80/udp+http", "http", "80:90:100"] {
        assert!(wrong.parse::<PortWords>().is_err(), "{wrong}");
    }
}

#[test]
fn flags_make_a_service() {
    let made = created(
        "--address 203.0.113.1 --address 2001:db8::1 --port 443:8080/http+tls \
         --port 80:8080/http --hostname a.example --backend 10.0.0.1 --backend 10.0.0.2",
    );
    let expected = json!({
        "addresses": ["203.0.113.1", "2001:db8::1"],
        "hostnames": ["a.example"],
        "internal_port": 8080,
        "load_balancer": {"servers": [{"address": "10.0.0.1"}, {"address": "10.0.0.2"}]},
        "ports": [
            {"port": 443, "handlers": ["http", "tls"]},
            {"port": 80, "handlers": ["http"]},
        ],
    });
    assert_eq!(made, Ok(body(expected)));
    let udp = created("--port 53/udp --pool dns").expect("valid");
    assert_eq!((&udp["protocol"], &udp["pool"]), (&json!("udp"), &json!("dns")));
    for wrong in ["--port 1:2 --port 3:4", "--port 1/udp --port 2", "--backend a --pool b"] {
        assert!(created(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn keys_are_edited() {
    let before = || body(json!({"name": "web", "queue": {"length": 1, "timeout": "5s"}}));
    let edits = |line: &str| {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            edits: edit::Edits,
        }
        let line = ["edit"].into_iter().chain(line.split_whitespace());
        edit::apply(before(), <Only as clap::Parser>::parse_from(line).edits)
    };
    let edited =
        edits("--set queue.length=7 --set load_balancer.strategy=wrr --unset queue.timeout");
    let expected =
        json!({"name": "web", "queue": {"length": 7}, "load_balancer": {"strategy": "wrr"}});
    assert_eq!(edited.expect("edited"), body(expected));
    assert!(edits("--set name.first=x").is_err());
    assert!(edits("--set nothing").is_err());
}

#[test]
fn a_list_is_a_table() {
    let item = |name: &str, owner, state, place: Option<&str>| Listed {
        name: name.into(),
        owner,
        revision: 3,
        state,
        because: None,
        place: place.map(Into::into),
        object: body(json!({
            "addresses": ["203.0.113.1"],
            "ports": [{"port": 443, "handlers": ["tls", "http"]}, {"port": "80-81"}],
            "load_balancer": {"servers": [{}, {}]},
        })),
    };
    let items = [
        item("web", Owner::File, ObjectState::Active, Some("lb.toml:3:1")),
        item("two", Owner::Api, ObjectState::Shadowed, None),
    ];
    assert_eq!(
        show::list(Kind::Services, &items),
        "NAME  OWNER        STATE     ADDRESSES    PORTS                SERVERS\n\
         web   lb.toml:3:1  active    203.0.113.1  443/tls+http, 80-81  2\n\
         two   api          shadowed  203.0.113.1  443/tls+http, 80-81  2\n"
    );
}
