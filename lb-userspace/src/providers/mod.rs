//! Where the desired state comes from beside the file: what clients of the API made, and where that
//! is kept.

mod merge_patch;
mod overlay;
mod provided;
mod store;
#[cfg(test)]
mod tests;

pub use self::{
    overlay::overlay,
    provided::Provided,
    store::{Store, StoreError},
};
