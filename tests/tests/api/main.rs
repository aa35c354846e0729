//! What clients of the API make, change and remove while everything goes on.

mod access;
mod commands;
mod objects;
mod orders;
mod owners;
mod scene;
mod store;
