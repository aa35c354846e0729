//! The kernel object: loading it, attaching its programs, and putting back what others took away.

pub(crate) mod attachment;
pub(crate) mod image;
pub(crate) mod kernel;
pub(crate) mod load;
#[cfg(feature = "kernel-log")]
pub(crate) mod log;
pub(crate) mod programs;
pub(crate) mod repair;
pub(crate) mod test_run;
