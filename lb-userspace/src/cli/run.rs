//! `lb run`: runs the daemon until it is told to stop.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use tracing::error;

use crate::{
    app::{self, ConfigText},
    config::{self, DaemonPaths, LoadError},
    settings::Config,
};

use super::{
    logging::{self, LogFormat},
    output::{fail, print_load_error},
};

pub(super) fn run(file: &Path, format: LogFormat, or_last_good: bool) -> ExitCode {
    // The daemon reads it again, from wherever it is then.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let (mut source, loaded) = load(&file);
    let (config, wrong) = match (loaded, or_last_good) {
        (Ok(config), _) => (config, None),
        (Err(wrong), false) => return print_load_error(&wrong),
        (Err(wrong), true) => match last_good(&file) {
            Ok((good, config)) => {
                source = ConfigText { file: file.clone(), text: good.text };
                (config, Some(wrong))
            }
            Err(error) => {
                print_load_error(&wrong);
                return fail(&error);
            }
        },
    };
    let run = || {
        if let Some(wrong) = wrong {
            error!(
                "the configuration file is refused, and the last good one is used instead: {wrong}"
            );
        }
        app::run(source, config)
    };
    match logging::start(format).and_then(|()| run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn load(file: &Path) -> (ConfigText, Result<Config, LoadError>) {
    let named = |text| ConfigText { file: file.to_owned(), text };
    match config::read_text(file) {
        Ok(text) => {
            let config = config::parse(file, &text).map_err(LoadError::from);
            (named(text), config)
        }
        Err(error) => (named(String::new()), Err(error)),
    }
}

/// Reads the last good configuration of the daemon with this file.
fn last_good(file: &Path) -> anyhow::Result<(ConfigText, Config)> {
    let state_dir: PathBuf = match config::load_daemon_paths(file) {
        Ok(DaemonPaths { state_dir, .. }) => state_dir,
        // It does not even say where: most often at the usual place.
        Err(_) => DaemonPaths::default().state_dir,
    };
    let good = ConfigText::read_last_good(&state_dir)?;
    let good = good.ok_or_else(|| {
        anyhow::anyhow!("there is no last good configuration in {}", state_dir.display())
    })?;
    let config = config::parse(&good.file, &good.text).map_err(LoadError::from)?;
    Ok((good, config))
}
