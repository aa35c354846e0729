//! Who may change something by the admin socket.

/// Root, the user that lb runs as, and whom the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writers {
    uids: Vec<u32>,
    gids: Vec<u32>,
}

impl Writers {
    /// Root and the user of this process, those of `uids`, and the groups of `gids`.
    #[must_use]
    pub fn with(uids: impl IntoIterator<Item = u32>, gids: impl IntoIterator<Item = u32>) -> Self {
        let own = nix::unistd::geteuid().as_raw();
        Self { uids: [0, own].into_iter().chain(uids).collect(), gids: gids.into_iter().collect() }
    }

    pub(super) fn may_write(&self, uid: u32, gid: u32) -> bool {
        self.uids.contains(&uid) || self.gids.contains(&gid)
    }
}
