//! Errors of planning.

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("too many {what}: the kernel's table has room for {room}")]
    Full { what: &'static str, room: u32 },
    #[error("no room for a ring of {words} words: the kernel's table has {room} in all")]
    RingSpace { words: u32, room: u32 },
}
