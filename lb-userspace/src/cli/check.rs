//! `lb check FILE`: validates a configuration.

use std::{fmt, path::Path, process::ExitCode};

use crate::{app, config, service, settings::Config};

use super::output::{fail, print, print_error, print_load_error};

pub(super) fn check(file: &Path) -> ExitCode {
    match config::load_checked(file, app::examine) {
        Ok(config) => {
            let warnings = app::warnings(&config).into_iter();
            let warnings = warnings.chain(app::missed_answers(&config));
            for warning in warnings.chain(app::link_warnings(&config)) {
                print_error(&format!("warning: {warning}"));
            }
            let refusals = app::refusals(&config);
            if !refusals.is_empty() {
                for refusal in refusals {
                    print_error(&format!("error: {refusal}"));
                }
                return ExitCode::from(1);
            }
            match print(&format!("ok: {}\n", Summary::of(&config))) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error),
            }
        }
        Err(error) => print_load_error(&error),
    }
}

/// A summary of a valid configuration.
#[derive(Debug, Default, PartialEq)]
struct Summary {
    services: usize,
    steered_ports: usize,
    proxied_ports: usize,
    servers: usize,
    certificates: usize,
    /// Flows that one port of a `nat` server can have; 0: there is none.
    flows_per_server: u64,
}

impl Summary {
    fn of(config: &Config) -> Self {
        let ports = || config.services.iter().flat_map(|service| &service.ports);
        let count = |path| ports().filter(|port| port.path() == path).count();
        Self {
            services: config.services.len(),
            steered_ports: count(service::Path::Steer),
            proxied_ports: count(service::Path::Proxy),
            servers: config.services.iter().map(|it| it.pool.servers.len()).sum(),
            certificates: config.certificates.len(),
            flows_per_server: app::flows_per_server(config),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        write!(
            f,
            "{}, {}, {}, {}, {}",
            counted(self.services, "service"),
            counted(self.steered_ports, "steered port"),
            counted(self.proxied_ports, "proxied port"),
            counted(self.servers, "server"),
            counted(self.certificates, "certificate"),
        )?;
        match self.flows_per_server {
            0 => Ok(()),
            flows => write!(f, "\nnat: up to {flows} flows at a time to each port of a server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_in_words() {
        let summary = Summary { services: 1, proxied_ports: 2, ..Summary::default() };
        assert_eq!(
            summary.to_string(),
            "1 service, 0 steered ports, 2 proxied ports, 0 servers, 0 certificates"
        );
    }
}
