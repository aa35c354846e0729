//! The paths by which commands find a daemon. A command asks the daemon that runs, whose file may
//! have been changed since, so it ignores mistakes elsewhere in the file.

use std::path::{Path, PathBuf};

use super::{
    document,
    load::read_text,
    tables::node,
    text::{
        diagnostic::Errors,
        load_error::LoadError,
        reader::{Report, Value},
        scalar::absolute_path,
        section::Section,
        texts::Texts,
    },
};
use crate::settings::{DEFAULT_PIN_DIR, DEFAULT_STATE_DIR};

/// Where the daemon of a configuration listens, and where it keeps what outlives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonPaths {
    pub socket: PathBuf,
    pub pin_dir: PathBuf,
    pub state_dir: PathBuf,
}

impl Default for DaemonPaths {
    fn default() -> Self {
        Self {
            socket: node::default_admin().listen,
            pin_dir: DEFAULT_PIN_DIR.into(),
            state_dir: DEFAULT_STATE_DIR.into(),
        }
    }
}

/// Returns the paths of the daemon with the configuration at `path`, whatever else is wrong in it.
///
/// # Errors
/// The file cannot be read, is no TOML, or one of these keys makes no sense.
pub fn load_daemon_paths(path: &Path) -> Result<DaemonPaths, LoadError> {
    let text = read_text(path)?;
    Ok(parse(path, &text)?)
}

fn parse(path: &Path, text: &str) -> Result<DaemonPaths, Errors> {
    let report = Report::default();
    let found = read(text, &report);
    let diagnostics = report.into_diagnostics();
    match found {
        Some(found) if diagnostics.is_empty() => Ok(found),
        _ => Err(Errors::new(Texts::file(path, text), diagnostics)),
    }
}

fn read(text: &str, report: &Report) -> Option<DaemonPaths> {
    let root = document::root(text, report)?;
    let tables = root.get_ref().as_table()?;
    let table = |name: &'static str| {
        let node = tables.get(name)?;
        Some(Section::new(name, node.get_ref().as_table()?, node.span(), report))
    };
    let path = |of, key, read: fn(Value<'_>) -> Option<PathBuf>| {
        table(of).and_then(|mut it| it.optional(key, read))
    };
    let default = DaemonPaths::default();
    Some(DaemonPaths {
        socket: path("admin", "listen", node::unix_socket).unwrap_or(default.socket),
        pin_dir: path("node", "pin_dir", node::pin_dir).unwrap_or(default.pin_dir),
        state_dir: path("node", "state_dir", absolute_path).unwrap_or(default.state_dir),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_elsewhere_do_not_matter() {
        let file = |text: &str| parse(Path::new("lb.toml"), text);
        let text = "[node]\nstate_dir = '/run/x'\nunheard_of = 1\n[admin]\nfuture = true\n\
                    listen = 'unix:/run/x/a.sock'\n[[services]]\nnonsense = 1\n";
        let expected = DaemonPaths {
            socket: "/run/x/a.sock".into(),
            state_dir: "/run/x".into(),
            ..DaemonPaths::default()
        };
        assert_eq!(file(text), Ok(expected));
        assert_eq!(file(""), Ok(DaemonPaths::default()));
        for (text, says) in [
            ("[admin]\nlisten = 'tcp:80'", "does not begin with `unix:`"),
            ("[node]\npin_dir = 5", "`pin_dir` must be"),
            ("[node", "lb.toml:1"),
        ] {
            let error = file(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
