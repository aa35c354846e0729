//! Who may import whom.

use super::{
    finding::Finding,
    source::{Source, in_name},
};

/// The modules of a crate, lowest layer first. A module may use those of lower layers; in the
/// lowest layer they may use each other.
struct Layers {
    directory: &'static str,
    layers: &'static [&'static [&'static str]],
    /// What is allowed besides: `(from, to)`.
    besides: &'static [(&'static str, &'static str)],
}

const CRATES: [Layers; 2] = [
    Layers {
        directory: "lb-common/src",
        layers: &[
            &["abi", "context", "wire"],
            &["flow_table"],
            &["forward", "reply", "select"],
            &["lifecycle"],
            &["classify"],
            &["pipeline"],
            &["testing"],
        ],
        besides: &[],
    },
    Layers {
        directory: "lb-userspace/src",
        layers: &[
            &[
                "exhaustion",
                "files",
                "interface",
                "objects",
                "service",
                "settings",
                "load",
                "fleet",
                "tables",
            ],
            &[
                "admin",
                "balance",
                "change",
                "config",
                "control",
                "datapath",
                "handover",
                "health",
                "host",
                "providers",
                "proxy",
            ],
            &["app"],
            &["cli"],
        ],
        besides: &[("proxy", "balance")],
    },
];

/// A name and the only places where it may be written.
struct Confined {
    name: &'static str,
    /// Where the rule holds.
    within: &'static str,
    to: &'static [&'static str],
    why: &'static str,
}

const CONFINED: [Confined; 10] = [
    Confined {
        name: "aya",
        within: "lb-userspace",
        to: &["lb-userspace/src/datapath"],
        why: "only datapath talks to the kernel's BPF",
    },
    Confined {
        name: "aya_obj",
        within: "lb-userspace",
        to: &["lb-userspace/src/datapath"],
        why: "only datapath talks to the kernel's BPF",
    },
    Confined {
        name: "aya_log",
        within: "lb-userspace",
        to: &["lb-userspace/src/datapath"],
        why: "only datapath talks to the kernel's BPF",
    },
    Confined {
        name: "clap",
        within: "lb-userspace",
        to: &["lb-userspace/src/cli"],
        why: "only cli knows flags",
    },
    Confined {
        name: "toml",
        within: "lb-userspace",
        to: &["lb-userspace/src/config"],
        why: "only config knows the text of a configuration",
    },
    Confined {
        name: "annotate_snippets",
        within: "lb-userspace",
        to: &["lb-userspace/src/config"],
        why: "only config knows the text of a configuration",
    },
    Confined {
        name: "lb_common",
        within: "lb-userspace",
        to: &[
            "lb-userspace/src/app",
            "lb-userspace/src/control",
            "lb-userspace/src/datapath",
            // LOAD's words, which are read there.
            "lb-userspace/src/load",
            // SplitMix64, which is nobody's table.
            "lb-userspace/src/service/splitmix.rs",
            "lb-userspace/src/tables.rs",
        ],
        why: "only what fills or reads the kernel's tables sees their types",
    },
    Confined {
        name: "unsafe",
        within: "lb-common",
        to: &[
            "lb-common/src/abi/pod.rs",
            "lb-common/src/context/map_values.rs",
            "lb-common/src/wire/packet.rs",
            "lb-common/src/testing",
        ],
        why: "unsafe code has its few places",
    },
    Confined {
        name: "unsafe",
        within: "lb-userspace",
        // The allocator has no other way to be asked for what it keeps, nor a socket to be told the
        // address of a link.
        to: &[
            "lb-userspace/src/datapath",
            "lb-userspace/src/handover",
            "lb-userspace/src/proxy/net/memory_purge.rs",
            "lb-userspace/src/health/tunnel/wire.rs",
        ],
        why: "unsafe code has its few places",
    },
    Confined { name: "unsafe", within: "xtask", to: &[], why: "unsafe code has its few places" },
];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings: Vec<_> = CONFINED.iter().flat_map(|rule| rule.check(source)).collect();
    findings.extend(CRATES.iter().flat_map(|layers| layers.check(source)));
    findings
}

impl Confined {
    fn check(&self, source: &Source) -> Vec<Finding> {
        if !source.is_in(self.within) || self.to.iter().any(|place| source.is_in(place)) {
            return Vec::new();
        }
        let place = self.to.first().map_or_else(String::new, |to| format!(" (see {to})"));
        let message = format!("`{}` here: {}{place}", self.name, self.why);
        let found = source.words(self.name).filter(|&at| self.is_meant(source, at));
        found.map(|at| source.finding(source.line_of(at), message.clone())).collect()
    }

    /// A crate's name counts where a path begins, not as a field or a variable.
    fn is_meant(&self, source: &Source, at: usize) -> bool {
        let before = source.code[..at].trim_end();
        let after = &source.code[at + self.name.len()..];
        self.name == "unsafe"
            || (after.starts_with("::") && !before.ends_with("::"))
            || before.ends_with("use")
    }
}

impl Layers {
    fn check(&self, source: &Source) -> Vec<Finding> {
        let Ok(inside) = source.path.strip_prefix(self.directory) else {
            return Vec::new();
        };
        let first = inside.iter().next().unwrap_or_default().to_string_lossy();
        let module = first.trim_end_matches(".rs");
        if ["lib", "main"].contains(&module) {
            return Vec::new();
        }
        let Some(own) = self.layer(module) else {
            let message = format!("`{module}` has no layer yet: give it one in xtask's tidy");
            return vec![source.finding(1, message)];
        };
        used_modules(source)
            .filter(|(_, used)| *used != module && !self.allows(module, own, used))
            .map(|(at, used)| {
                let message = format!("`{module}` must not use `{used}`: it is not below it");
                source.finding(source.line_of(at), message)
            })
            .collect()
    }

    fn layer(&self, module: &str) -> Option<usize> {
        self.layers.iter().position(|layer| layer.contains(&module))
    }

    /// Names that are no modules (macros, re-exports) are nobody's business.
    fn allows(&self, module: &str, own: usize, used: &str) -> bool {
        self.besides.contains(&(module, used))
            || self.layer(used).is_none_or(|layer| layer < own || (layer == 0 && own == 0))
    }
}

/// The first segments of all paths that begin with `crate::`, groups included.
fn used_modules(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.words("crate").flat_map(|at| {
        let code = &source.code;
        let start = at + "crate".len();
        let Some(path) = code[start..].strip_prefix("::") else {
            return Vec::new();
        };
        let start = start + 2;
        match path.strip_prefix('{') {
            Some(group) => heads(group).map(|(at, name)| (start + 1 + at, name)).collect(),
            None => vec![(start, name(path))],
        }
    })
}

/// The names at the top of a group, up to its closing brace.
fn heads(group: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut depth = 0;
    let mut fresh = true;
    group
        .char_indices()
        .map_while(move |(at, c)| {
            let starts = depth == 0 && fresh && in_name(c);
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => return None,
                '}' => depth -= 1,
                _ => {}
            }
            fresh = c == ',' || (fresh && c.is_whitespace());
            Some(starts.then_some(at))
        })
        .flatten()
        .map(|at| (at, name(&group[at..])))
}

fn name(path: &str) -> &str {
    let end = path.find(|c| !in_name(c)).unwrap_or(path.len());
    &path[..end]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let findings = check(&Source::new(Path::new(path), text));
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_neighbour_is_not_used() {
        let text = "use crate::{\n    control::{plan, health},\n    load::Load,\n};\n";
        assert_eq!(
            messages("lb-userspace/src/health/probe.rs", text),
            ["lb-userspace/src/health/probe.rs:2: `health` must not use `control`: it is not \
              below it"]
        );
        assert_eq!(messages("lb-userspace/src/app.rs", text), [""; 0]);
    }

    #[test]
    fn the_proxy_may_balance_but_not_see_tables() {
        let path = "lb-userspace/src/proxy/pick.rs";
        assert_eq!(messages(path, "use crate::balance::p2c;"), [""; 0]);
        assert_eq!(messages(path, "let a = lb_common::abi::path::STEER;").len(), 1);
        assert_eq!(messages(path, "fn f() { crate::datapath::load() }").len(), 1);
    }

    #[test]
    fn the_packet_path_looks_down_only() {
        assert_eq!(
            messages("lb-common/src/wire/parse.rs", "use crate::pipeline::balance;").len(),
            1
        );
        assert_eq!(
            messages("lb-common/src/abi/flow.rs", "use crate::context::reason::Reason;"),
            [""; 0]
        );
    }

    #[test]
    fn crates_and_unsafe_code_have_their_places() {
        let text = "use aya::Ebpf;\nlet aya = 1; // aya::x\nunsafe { clap::parse() }\nuse clap;";
        assert_eq!(messages("lb-userspace/src/host/mod.rs", text).len(), 4);
        assert_eq!(messages("lb-userspace/src/datapath/mod.rs", text).len(), 2);
    }

    #[test]
    fn a_module_without_a_layer_is_found() {
        assert_eq!(messages("lb-userspace/src/extra.rs", "").len(), 1);
    }
}
