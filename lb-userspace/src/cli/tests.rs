use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Command, clap::error::ErrorKind> {
    let parsed = Cli::try_parse_from(line.split_whitespace());
    parsed.map(|cli| cli.command).map_err(|error| error.kind())
}

#[test]
fn flags_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn commands_take_their_flags() {
    assert!(matches!(parse("lb check lb.toml"), Ok(Command::Check { .. })));
    let Ok(Command::Run { log_format, .. }) = parse("lb run --config lb.toml --log-format json")
    else {
        panic!("run");
    };
    assert_eq!(log_format, LogFormat::Json);
    assert!(matches!(parse("lb drain web 10.0.0.1:80 --deadline 30s"), Ok(Command::Drain(_))));
    let explain = "lb explain --from 198.51.100.7:4000 --to [2001:db8::1]:80 --flags syn,ack";
    assert!(matches!(parse(explain), Ok(Command::Explain(_))));
    let flows =
        "lb flows --client 10.0.0.0/8 --vip 203.0.113.1 --backend 10.0.0.1:80 --state half-open";
    assert!(matches!(parse(flows), Ok(Command::Flows(_))));
    assert!(matches!(parse("lb trace --proto udp --sample 10 --count 5"), Ok(Command::Trace(_))));
    let decap = "lb decap --interface eth0 --from 172.16.0.0/16 100::/64 --gue-port 5555";
    assert!(matches!(parse(decap), Ok(Command::Decap(_))));
    assert!(matches!(parse("lb status --json"), Ok(Command::Status { json: true, .. })));
}

#[test]
fn wrong_usage_is_refused() {
    use clap::error::ErrorKind;
    for (line, kind) in [
        ("lb run", ErrorKind::MissingRequiredArgument),
        ("lb check", ErrorKind::MissingRequiredArgument),
        ("lb decap", ErrorKind::MissingRequiredArgument),
        ("lb decap --interface eth0 --from 10.0.0.1/8", ErrorKind::ValueValidation),
        ("lb decap --interface eth0 --gue-port 0", ErrorKind::ValueValidation),
        ("lb check a b", ErrorKind::UnknownArgument),
        ("lb run --config a --log-format xml", ErrorKind::InvalidValue),
        ("lb status --config a --socket b", ErrorKind::ArgumentConflict),
        ("lb drain web", ErrorKind::MissingRequiredArgument),
        ("lb drain web 10.0.0.1", ErrorKind::ValueValidation),
        ("lb drain web 10.0.0.1:80 --deadline 5", ErrorKind::ValueValidation),
        ("lb drain web 10.0.0.1:80 --deadline 5s --undo", ErrorKind::ArgumentConflict),
        ("lb explain --from 10.0.0.1:1", ErrorKind::MissingRequiredArgument),
        ("lb explain --from 10.0.0.1:1 --to 10.0.0.2:2 --flags sin", ErrorKind::ValueValidation),
        ("lb flows --client 10.0.0.0/33", ErrorKind::ValueValidation),
        ("lb trace --sample 0", ErrorKind::ValueValidation),
        ("lb flows --state open", ErrorKind::ValueValidation),
        ("lb stat", ErrorKind::InvalidSubcommand),
    ] {
        assert_eq!(parse(line).err(), Some(kind), "{line}");
    }
}
