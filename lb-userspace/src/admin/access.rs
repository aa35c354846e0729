//! Who may open the admin socket, and who may change something by it.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
};

use nix::unistd::{Gid, Group, Uid, User, geteuid};

use crate::settings::Admin;

/// The mode and owners of the socket, and the users that may write: root, the user that lb runs as,
/// the socket's owner, and the members of its group. Whoever else can open it may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    mode: u32,
    uid: Option<u32>,
    gid: Option<u32>,
    writers: Vec<u32>,
}

/// Why nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("[admin] {key}: there is no {what} `{name}` on this host")]
    Unknown { key: &'static str, what: &'static str, name: String },
    #[error("[admin] {key}: cannot look for `{name}`: {source}")]
    Lookup { key: &'static str, name: String, source: nix::Error },
}

impl SocketAccess {
    /// Looks for the users that the configuration names.
    ///
    /// # Errors
    ///
    /// This host does not know one of them.
    pub fn of(admin: &Admin) -> Result<Self, AccessError> {
        let owner = admin.owner.as_deref().map(user).transpose()?;
        let group = admin.group.as_deref().map(group).transpose()?;
        let mut writers = vec![0, geteuid().as_raw()];
        writers.extend(owner.map(Uid::as_raw));
        for member in group.iter().flat_map(|group| &group.mem) {
            // One that has left the host since writes nothing.
            writers.extend(User::from_name(member).ok().flatten().map(|user| user.uid.as_raw()));
        }
        let (uid, gid) = (owner.map(Uid::as_raw), group.map(|group| group.gid.as_raw()));
        Ok(Self { mode: admin.mode, uid, gid, writers })
    }

    pub(super) fn may_write(&self, uid: u32, gid: u32) -> bool {
        self.writers.contains(&uid) || self.gid == Some(gid)
    }

    /// Lets them in. Owners come first: whom the mode lets in is then the right one.
    pub(super) fn apply(&self, path: &Path) -> io::Result<()> {
        chown(path, self.uid, self.gid)?;
        fs::set_permissions(path, Permissions::from_mode(self.mode))
    }
}

fn user(name: &str) -> Result<Uid, AccessError> {
    let key = "owner";
    if let Ok(number) = name.parse() {
        return Ok(Uid::from_raw(number));
    }
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid),
        Ok(None) => Err(AccessError::Unknown { key, what: "user", name: name.to_owned() }),
        Err(source) => Err(AccessError::Lookup { key, name: name.to_owned(), source }),
    }
}

fn group(name: &str) -> Result<Group, AccessError> {
    let key = "group";
    let found = match name.parse() {
        Ok(number) => Group::from_gid(Gid::from_raw(number)),
        Err(_) => Group::from_name(name),
    };
    match found {
        Ok(Some(group)) => Ok(group),
        Ok(None) => Err(AccessError::Unknown { key, what: "group", name: name.to_owned() }),
        Err(source) => Err(AccessError::Lookup { key, name: name.to_owned(), source }),
    }
}
