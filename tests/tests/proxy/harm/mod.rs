//! Clients and hosts that take, or have, too little or too much.

mod bounds;
mod descriptors;
mod hostile;
mod storm;
