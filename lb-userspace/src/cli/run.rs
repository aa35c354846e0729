//! `lb run`: runs the daemon until it is told to stop.

use std::{path::Path, process::ExitCode};

use crate::{app, config};

use super::{
    logging::{self, LogFormat},
    output::{fail, print_load_error},
};

pub(super) fn run(file: &Path, format: LogFormat) -> ExitCode {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => return print_load_error(&error),
    };
    match logging::start(format).and_then(|()| app::run(file, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}
