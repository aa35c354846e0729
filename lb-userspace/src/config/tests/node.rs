use super::{CERTIFICATES, NODE, Row, check, node};

#[test]
fn mistakes_in_node_are_told() {
    check(ROWS, node);
}

const ROWS: &[Row] = &[
    ("", &[]),
    ("interfaces = []", &["2:14 `interfaces` is empty"]),
    ("interfaces = 'eth0'", &["2:14 `interfaces` must be a list in square brackets, found text"]),
    (
        "interfaces = ['eth0', 7]",
        &["2:23 `interfaces` must be text in quotes, found a whole number"],
    ),
    ("interfaces = ['eth0', 'eth0']", &["2:23 interface `eth0` is given twice"]),
    (
        "interfaces = ['an-interface-too-long']",
        &["2:15 `an-interface-too-long` is not the name of an interface"],
    ),
    ("interfaces = ['eth*', 'enp?s0', 'bond0']", &[]),
    ("interfaces = ['eth*', 'eth*']", &["2:23 interface `eth*` is given twice"]),
    ("interfaces = ['eth *']", &["2:15 `eth *` is not the name of an interface"]),
    ("interfase = ['eth0']", &["2:1 unknown key `interfase` in `node`"]),
    ("region = 'f ra'", &["2:10 `f ra` in `region` is not a name"]),
    (
        "nearby = ['ams', 'ams', 7]",
        &[
            "2:18 region `ams` is given twice",
            "2:25 `nearby` must be text in quotes, found a whole number",
        ],
    ),
    ("region = 'any'", &["2:10 `any` in `region` stands for every region"]),
    ("nearby = ['any']", &["2:11 `any` in `nearby` stands for every region"]),
    (
        "region = 'fra'\nnearby = ['ams', 'fra']",
        &["3:18 `fra` in `nearby` is this node's own region"],
    ),
    ("answer_neighbours = 'never'", &[]),
    ("answer_neighbours = 'allways'", &["2:21 `allways` is not a value of `answer_neighbours`"]),
    ("xdp = 'offload'", &["2:7 `offload` is not a value of `xdp`"]),
    ("xdp = true", &["2:7 `xdp` must be \"auto\", \"native\" or \"generic\", found true or false"]),
    ("source_ports = '2048-32767'", &[]),
    (
        "source_ports = '80-2000'",
        &["2:16 the range `80-2000` reaches below 1024, into well-known ports"],
    ),
    ("source_ports = '3000-2000'", &["2:16 the range `3000-2000` ends before it begins"]),
    ("source_ports = '2000-70000'", &["2:16 `2000-70000` is not a range of ports"]),
    (
        "source_ports = [2048, 32767]",
        &["2:16 `source_ports` must be a range in quotes such as \"2048-32767\", found a list"],
    ),
    ("max_flows = 0", &["2:13 `max_flows` must be a whole number from 1 to 67108864, found 0"]),
    ("workers = -1", &["2:11 `workers` must be a whole number from 1 to 1024, found -1"]),
    ("max_flows = 0x1000", &[]),
    (
        "max_flows = 99999999999999999999",
        &["2:13 `max_flows` must be a whole number from 1 to 67108864, found 99999999999999999999"],
    ),
    ("state_dir = 'lb'", &["2:13 `state_dir` must be an absolute path"]),
    ("pin_dir = '/sys/fs/bpf/lb-2'", &[]),
    ("pinDir = 'lb'", &["2:10 `pin_dir` must be an absolute path"]),
    (
        "pin_dir = '/sys/fs/bpf/lb.2'",
        &["2:11 a name in `/sys/fs/bpf/lb.2` has a dot, which a bpffs does not take"],
    ),
    (
        "flow_timeouts = { udp = '0s' }",
        &["2:25 `udp` must not be zero or shorter than a millisecond"],
    ),
    (
        "flow_timeouts = { established = '2years' }",
        &["2:33 `established` must not be longer than a year"],
    ),
    (
        "flow_timeouts = { half_open = '5 potatoes' }",
        &["2:31 `5 potatoes` in `half_open` is not a duration"],
    ),
    (
        "flow_timeouts = { closed = 5 }",
        &[
            "2:28 `closed` must be a duration in quotes such as \"5s\", \"500ms\" or \"1m30s\", found a whole number",
        ],
    ),
    ("flowTimeouts.udp = '1m30s'", &[]),
    (
        "max_half_open = 0",
        &["2:17 `max_half_open` must be a whole number from 1 to 67108864, found 0"],
    ),
    ("maglev_table_size = 65537", &[]),
    (
        "maglev_table_size = 250",
        &["2:21 `maglev_table_size` must be a whole number from 251 to 1048576, found 250"],
    ),
    ("max_fragments = 1\nmaxSources = 1\nmax_affinities = 1", &[]),
    ("flow_timeouts = { closing = '1m', reset = '30s', udp_unanswered = '5s' }", &[]),
    ("unknown_flows = 'drop'", &[]),
    ("unknown_flows = 'reject'", &["2:17 `reject` is not a value of `unknown_flows`"]),
    ("encap = { source_v4 = '10.254.0.0/16', sourceV6 = '2001:db8::/64', gue_port = 5555 }", &[]),
    (
        "encap = { source_v4 = '2001:db8::/64' }",
        &["2:23 `2001:db8::/64` cannot be the source of these outer headers"],
    ),
    (
        "encap = { source_v4 = '10.254.1.0/16' }",
        &["2:23 `10.254.1.0/16` has bits set beyond its prefix"],
    ),
    ("max_flows = 5\nmaxFlows = 6", &["3:1 `max_flows` is given twice"]),
];

#[test]
fn mistakes_beside_the_services_are_told() {
    check(BESIDE, |snippet| format!("{snippet}\n{NODE}"));
    check(&[("", &["1:1 `node` is missing"])], str::to_owned);
    check(&[("", &[])], |_| format!("{NODE}{CERTIFICATES}"));
}

const BESIDE: &[Row] = &[
    ("[nod]", &["1:2 unknown key `nod`"]),
    ("services = 3", &["1:12 `services` must be a list in square brackets, found a whole number"]),
    ("[admin]\nlisten = '127.0.0.1:80'", &["2:10 `127.0.0.1:80` does not begin with `unix:`"]),
    ("[admin]\nlisten = 'unix:lb.sock'", &["2:10 `lb.sock` is not an absolute path"]),
    ("[admin]\nmode = '0068'", &["2:8 `0068` is not a mode"]),
    (
        "[admin]\nmode = 660",
        &["2:8 `mode` must be octal digits in quotes such as \"0660\", found a whole number"],
    ),
    ("[admin]\nmode = '0066'", &["2:8 `0066` keeps its own owner out"]),
    ("[admin]\nowner = 'a b'", &["2:9 `a b` in `owner` is not a name"]),
    ("[admin]\nmetrics = '127.0.0.1:9100'", &["2:1 `metrics` is not supported yet"]),
    ("[proxy]\nkeepalive_time = '2m'\nkeepalive_interval = '1s'\nkeepalive_probes = 127", &[]),
    (
        "[proxy]\nkeepalive_time = '1500ms'\nkeepalive_interval = '10h'\nkeepalive_probes = 0",
        &[
            "2:18 `keepalive_time` must be whole seconds from 1s to 9h",
            "3:22 `keepalive_interval` must be whole seconds from 1s to 9h",
            "4:20 `keepalive_probes` must be a whole number from 1 to 127, found 0",
        ],
    ),
    ("[[certificates]]\ncert = 'a.crt'", &["1:1 `key` is missing in `certificates`"]),
    ("[[certificates]]\ncert = 'a.crt'\nkey = 'a.key'\ndefault = true", &[]),
    ("[[certificates]]\ndirectory = 'live'\ndefault = true", &["3:1 `default` beside `directory`"]),
    (
        "[[certificates]]\ncert = 'a.crt'\nkey = 'a.key'\ndefault = true\n\
         [[certificates]]\ncert = 'b.crt'\nkey = 'b.key'\ndefault = true",
        &["5:1 a second default certificate"],
    ),
    ("[[certificates]]\ncert = ''\nkey = 'a.key'", &["2:8 `cert` must be a path"]),
    ("[proxy]\nheader_prefix = 'Fly'", &["2:17 `Fly` cannot begin the name of a header"]),
    ("[proxy]\nmax_header_size = 8192\nmax_request_body = 0\nrequest_timeout = '5m'", &[]),
    (
        "[proxy]\nmax_header_size = 100",
        &["2:19 `max_header_size` must be a whole number from 8192 to 1048576, found 100"],
    ),
    (
        "[proxy]\nmax_request_body = -1",
        &["2:20 `max_request_body` must be a whole number from 0 to 9223372036854775807, found -1"],
    ),
    ("[proxy]\nticket_rotation = '1h'", &[]),
    ("[proxy]\nticket_rotation = '7h'", &["2:19 `ticket_rotation` must be from 1s to 6h"]),
    ("[proxy]\nrequest_timeout = ''", &["2:19 `` in `request_timeout` is not a duration"]),
    ("[proxy]\ndial_timeout = ''", &["2:16 `` in `dial_timeout` is not a duration"]),
    (
        "[proxy]\nmax_idle_per_backend = 1.5",
        &[
            "2:24 `max_idle_per_backend` must be a whole number from 0 to 65535, found a number with a fraction",
        ],
    ),
    ("[pools.a]\nstrategy = 'p2c'", &["1:1 `servers` is missing in `a`"]),
];

#[test]
fn text_that_is_no_toml_is_told_by_its_first_place_alone() {
    let rows: &[Row] = &[
        ("a = 5s", &["1:5 string values must be quoted, expected literal string"]),
        ("[a]\n[a]", &["2:2 duplicate key"]),
        ("[node", &["1:6 unclosed table, expected `]`"]),
        ("a = \"b\nc = ", &["1:7 invalid basic string, expected `\"`"]),
    ];
    check(rows, str::to_owned);
}

#[test]
fn mistakes_in_regions_are_told() {
    let text = |groups: &str| {
        format!(
            "[regions]\n{groups}\n[node]\ninterfaces = ['eth0']\nregion = 'fra'\n\
             nearby = ['ams', 'us']\n[pools.web]\n\
             servers = [{{ address = '10.0.0.1:80', region = 'iad' }}]\n"
        )
    };
    let rows: &[Row] = &[
        ("eu = ['ams', 'cdg']", &[]),
        ("any = ['iad']", &["2:1 `any` cannot be the name of a group"]),
        ("'u s' = ['iad']", &["2:1 `u s` in `regions` is not a name"]),
        ("eu = []", &["2:6 `eu` is empty"]),
        ("eu = 'ams'", &["2:6 `eu` must be a list in square brackets, found text"]),
        ("eu = ['any']", &["2:7 `any` in `eu` stands for every region"]),
        ("eu = ['ams', 'ams']", &["2:14 region `ams` is given twice"]),
        (
            "iad = ['iad', 'ord']",
            &[
                "2:1 `iad` is a region, too",
                "2:8 `iad` is a group, and groups have no groups in them",
            ],
        ),
        ("fra = ['cdg']", &["2:1 `fra` is a region, too"]),
        (
            "eu = ['ams', 'all']\nall = ['cdg']",
            &["2:14 `all` is a group, and groups have no groups in them"],
        ),
        ("us = ['iad', 'ord']", &["6:18 `us` in `nearby` is a group"]),
    ];
    check(rows, text);
}
