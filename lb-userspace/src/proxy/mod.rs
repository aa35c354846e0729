//! From an accepted connection to a backend's answer: serve → tls → route → pick → connect → http or relay.
