//! Places in the text.

use std::ops::Range;

/// A place in the text, in bytes.
pub type Span = Range<usize>;
