//! The desired state: what the file says, what clients of the API made, and which of that waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ::tracing::{error, warn};
use anyhow::Context as _;
use arc_swap::ArcSwap;

use crate::{
    admin::{EventFeed, SocketAccess},
    app::state::last_good::ConfigText,
    config::{self, FileText, Joined, NamedFile, Shadowed},
    objects::{Listed, Listing, Object, ObjectId, ObjectState, Owner, Violation},
    providers::{Provided, Store, overlay},
    settings::Config,
};

pub(crate) struct DesiredState {
    /// As it was when it was applied.
    pub(crate) file: FileText,
    in_file: BTreeMap<ObjectId, Listed>,
    pub(crate) provided: Provided,
    waiting: Waiting,
    pub(crate) store: Store,
    /// For clients that only read.
    pub(crate) listing: Arc<ArcSwap<Listing>>,
    pub(crate) events: EventFeed,
    /// Who may use the API.
    pub(crate) access: Arc<ArcSwap<SocketAccess>>,
}

/// Objects that are not part of the configuration, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) shadowed: Vec<Shadowed>,
    pub(crate) left_out: Vec<Violation>,
}

impl DesiredState {
    /// Joins the `config` of the file and what clients of an earlier daemon made. What of that does
    /// not fit is left out: a start does not fail for it.
    pub(crate) fn begin(source: &ConfigText, config: Config) -> anyhow::Result<(Self, Config)> {
        let access = SocketAccess::of(&config.admin)?;
        let store = Store::new(&config.node.state_dir);
        let (provided, damaged) = store.load()?;
        for error in damaged {
            error!(error = %error, "a saved revision of the API's objects is lost");
        }
        let file = FileText { path: source.file.clone(), text: source.text.as_str().into() };
        let objects = provided.objects();
        let all = objects.iter().map(|object| object.id.clone()).collect();
        let joined = match objects.is_empty() {
            true => Joined { config, shadowed: Vec::new(), left_out: Vec::new() },
            false => config::join_what_fits(&file, &objects, &all, |_, _| Vec::new())
                .context("cannot join the configuration file and the API's objects")?,
        };
        let mut desired = Self {
            in_file: BTreeMap::new(),
            waiting: Waiting::default(),
            store,
            listing: Arc::default(),
            events: EventFeed::default(),
            access: Arc::new(ArcSwap::from_pointee(access)),
            file: file.clone(),
            provided: provided.clone(),
        };
        let (config, waiting) = Waiting::apart(joined, &provided);
        desired.warnings(&waiting).iter().for_each(|warning| warn!("{warning}"));
        desired.accept(file, provided, waiting);
        Ok((desired, config))
    }

    /// Notes that this is what runs now.
    pub(crate) fn accept(&mut self, file: FileText, provided: Provided, waiting: Waiting) {
        if self.in_file.is_empty() || file != self.file {
            self.list_file(&file, provided.revision());
        }
        self.file = file;
        self.provided = provided;
        self.waiting = waiting;
        self.listing.store(Arc::new(self.list()));
    }

    /// An object that stays as it is keeps its revision.
    fn list_file(&mut self, file: &FileText, revision: u64) {
        let before = std::mem::take(&mut self.in_file);
        for found in config::file_objects(file) {
            let same = before.get(&found.id).filter(|before| before.object == found.body);
            let listed = Listed {
                name: found.id.name.clone(),
                owner: Owner::File,
                revision: same.map_or(revision, |same| same.revision),
                state: ObjectState::Active,
                because: None,
                place: Some(found.place),
                object: found.body,
            };
            self.in_file.insert(found.id, listed);
        }
    }

    fn list(&self) -> Listing {
        let mut listing = Listing::at(self.provided.revision());
        listing.orders = self.provided.orders();
        for (id, listed) in &self.in_file {
            listing.add(id.kind, listed.clone());
        }
        for object in self.provided.objects() {
            let (state, because) = self.waiting.state(&object.id);
            let listed = Listed {
                name: object.id.name.clone(),
                owner: Owner::Api,
                revision: object.revision,
                state,
                because,
                place: None,
                object: object.body.clone(),
            };
            listing.add(object.id.kind, listed);
        }
        listing
    }

    /// Says where the file has an object.
    pub(crate) fn place_in_file(&self, id: &ObjectId) -> Option<String> {
        self.in_file.get(id)?.place.clone()
    }

    pub(crate) fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// What does not fit today may be left out tomorrow as well.
    pub(crate) fn may_be_left_out(&self) -> BTreeSet<ObjectId> {
        self.waiting.left_out.iter().flat_map(Violation::objects).cloned().collect()
    }

    /// Returns what the operator should know of objects that `waiting` newly has.
    pub(crate) fn warnings(&self, waiting: &Waiting) -> Vec<String> {
        let is_new =
            |it: &&Shadowed| !self.waiting.shadowed.iter().any(|was| was.object == it.object);
        let shadowed = waiting.shadowed.iter().filter(is_new).map(|it| {
            let by =
                it.by.conflicts_with.as_ref().map_or_else(String::new, |by| format!(" ({by})"));
            format!("{} of the API waits until the file lets go: {}{by}", it.object, it.by.detail)
        });
        let is_new = |it: &&Violation| !self.waiting.left_out.contains(it);
        let left_out = waiting.left_out.iter().filter(is_new);
        shadowed.chain(left_out.map(|why| format!("left out: {why}"))).collect()
    }
}

impl Waiting {
    /// Returns the configuration as the orders of `provided` have it, and what waits.
    pub(crate) fn apart(joined: Joined, provided: &Provided) -> (Config, Self) {
        let Joined { mut config, shadowed, left_out } = joined;
        overlay(&mut config, &provided.orders());
        (config, Self { shadowed, left_out })
    }

    fn state(&self, id: &ObjectId) -> (ObjectState, Option<Violation>) {
        if let Some(shadowed) = self.shadowed.iter().find(|it| it.object == *id) {
            return (ObjectState::Shadowed, Some(shadowed.by.clone()));
        }
        match self.left_out.iter().find(|why| why.concerns(id)) {
            Some(why) => (ObjectState::Unfit, Some(why.clone())),
            None => (ObjectState::Active, None),
        }
    }
}

/// Joins `file` with `objects`, and looks at the files that `examined` objects name; `None` is the
/// configuration file. Blocks.
pub(crate) fn join(
    file: &FileText,
    objects: &[Arc<Object>],
    optional: &BTreeSet<ObjectId>,
    examined: impl Fn(Option<&ObjectId>) -> bool,
    examine: impl Fn(&NamedFile) -> Vec<String>,
) -> Result<Joined, config::Errors> {
    config::join_what_fits(file, objects, optional, |object, named| match examined(object) {
        true => examine(named),
        false => Vec::new(),
    })
}
