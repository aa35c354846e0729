//! Fragments in the `:path` of HTTP/2. h2 cuts them off without a word, and who is before us may
//! have judged the path with them. A `#` there becomes a `>` on the client's bytes' way to h2,
//! which no path may have: h2 resets that stream alone. Either sign has as many bits, compressed or
//! not, so that nothing else of a frame changes.
//!
//! What is read for that is where header sections are (RFC 9113 4.1, 6.2, 6.10), and where in them
//! the fields' names and values (RFC 7541 5, 6). What is malformed h2 refuses.

mod section;
#[cfg(test)]
mod tests;

use self::section::FieldSection;

const PREFACE: u32 = 24;
const FRAME_HEADER: u32 = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The bytes that a priority has.
const PRIORITY_LENGTH: u32 = 5;

/// Looks on as a client's bytes arrive.
pub(crate) struct TargetFragments {
    stage: Stage,
    /// Bytes of the stage that are still to come.
    left: u32,
    header: [u8; FRAME_HEADER as usize],
    /// Bytes at the current frame's end that mean nothing.
    padding: u32,
    section: FieldSection,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    FrameHeader,
    Padding,
    FieldSection,
    /// The preface, a priority, padding, or a frame of another kind.
    Other,
}

impl Default for TargetFragments {
    fn default() -> Self {
        Self {
            stage: Stage::Other,
            left: PREFACE,
            header: Default::default(),
            padding: 0,
            section: FieldSection::default(),
        }
    }
}

impl TargetFragments {
    /// Makes what h2 refuses of every fragment in `bytes`, which come next.
    pub(crate) fn mark(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let here = bytes.len().min(self.left as usize);
            let (part, rest) = bytes.split_at_mut(here);
            match self.stage {
                Stage::FrameHeader => {
                    let at = (FRAME_HEADER - self.left) as usize;
                    self.header[at..at + here].copy_from_slice(part);
                }
                Stage::Padding => self.padding = part.first().map_or(0, |&length| length.into()),
                Stage::FieldSection => self.section.read(part),
                Stage::Other => {}
            }
            self.left -= here as u32;
            while self.left == 0 {
                self.next_stage();
            }
            bytes = rest;
        }
    }

    fn next_stage(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let is_padded = flags & PADDED != 0;
        let before = if flags & PRIORITY != 0 { PRIORITY_LENGTH } else { 0 };
        (self.stage, self.left) = match (self.stage, kind) {
            (Stage::FrameHeader, HEADERS) if is_padded => (Stage::Padding, 1),
            (Stage::FrameHeader, HEADERS) => {
                self.padding = 0;
                (Stage::FieldSection, length)
            }
            (Stage::FrameHeader, CONTINUATION) => (Stage::FieldSection, length),
            (Stage::FrameHeader, _) => (Stage::Other, length),
            (Stage::Padding, _) => (Stage::FieldSection, length.saturating_sub(1 + self.padding)),
            (Stage::FieldSection, HEADERS) => (Stage::Other, std::mem::take(&mut self.padding)),
            (Stage::FieldSection | Stage::Other, _) => (Stage::FrameHeader, FRAME_HEADER),
        };
        if self.stage == Stage::FieldSection && kind == HEADERS {
            let stream = self.header[5..].iter().fold(0, |id, &byte| id << 8 | u32::from(byte));
            self.section.begin(stream, before);
        }
    }
}
