//! `lb services`, `lb pools`, `lb certs`, `lb backends`: objects of the API.

mod backends;
mod body_file;
mod edit;
mod flags;
mod port_words;
mod show;
mod tell;
#[cfg(test)]
mod tests;

use std::{path::Path, process::ExitCode};

use hyper::Method;

use crate::{
    admin::client,
    cli::output::{fail, print, print_error},
    objects::{Kind, ObjectId},
};

pub(super) use self::{
    backends::{BackendsCommand, backends},
    flags::{CertsCommand, PoolsCommand, ServicesCommand},
};
use self::{flags::Asked, tell::tell};

pub(super) fn services(command: ServicesCommand) -> ExitCode {
    run(Kind::Services, command.asked())
}

pub(super) fn pools(command: PoolsCommand) -> ExitCode {
    run(Kind::Pools, command.asked())
}

pub(super) fn certs(command: CertsCommand) -> ExitCode {
    run(Kind::Certificates, command.asked())
}

fn run(kind: Kind, asked: anyhow::Result<Asked>) -> ExitCode {
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => return fail(&error),
    };
    let common = asked.common();
    let (socket, json) = (common.socket.clone().path(), common.json);
    let socket = match socket {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    match answer(&socket, kind, asked, json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn answer(socket: &Path, kind: Kind, asked: Asked, json: bool) -> anyhow::Result<()> {
    match asked {
        Asked::List(_) => {
            let list = client::list(socket, kind)?;
            match json {
                true => print(&(serde_json::to_string_pretty(&list)? + "\n")),
                false => print(&show::list(kind, &list.items)),
            }
        }
        Asked::Get(name, _) => {
            let id = ObjectId::new(kind, name);
            let found = client::read(socket, &id)?;
            if !json {
                print_error(&show::heading(&id, &found));
            }
            print(&(serde_json::to_string_pretty(&found.body)? + "\n"))
        }
        Asked::Create { name, body, flags } => {
            let id = ObjectId::new(kind, name);
            let made = client::write(socket, Method::PUT, &id, None, Some(&body), flags.dry_run)?;
            tell(&made, json)
        }
        Asked::Edit { name, edits, flags } => {
            let id = ObjectId::new(kind, name);
            let found = client::read(socket, &id)?;
            let body = edit::apply(found.body, edits)?;
            let method = Method::PUT;
            let tag = Some(&*found.tag);
            let done = client::write(socket, method, &id, tag, Some(&body), flags.dry_run)?;
            tell(&done, json)
        }
        Asked::Delete { name, flags } => {
            let id = ObjectId::new(kind, name);
            let found = client::read(socket, &id)?;
            let (method, tag) = (Method::DELETE, Some(&*found.tag));
            tell(&client::write(socket, method, &id, tag, None, flags.dry_run)?, json)
        }
    }
}
