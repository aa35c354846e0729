//! The daemon's door: status over a unix socket.
