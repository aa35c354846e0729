//! Objects of the configuration that come from elsewhere than its file: services, pools and
//! certificates, each with a name, an owner and a revision.

mod change;
mod listing;
mod object;
mod order;
mod violation;

pub use self::{
    change::{ChangeRefusal, Match, Operation, RefusalKind, Star, Verb},
    listing::{Listed, Listing, ObjectState},
    object::{Body, Kind, Object, ObjectId, Owner},
    order::{Order, OrderChange, OrderTarget},
    violation::{Place, Violation},
};
