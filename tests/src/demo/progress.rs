//! What the demo says while it runs.

/// Says on stderr what happens now.
pub(super) fn step(text: &str) {
    eprintln!("demo: {text}");
}
