//! What hyper does not tell of a request's header section: which lines it settled by itself.
//!
//! hyper reads a request that has both framings by the chunks alone, and lines that end without a
//! carriage return as if they had one. RFC 9112 (2.2, 6.3) allows both; but somebody before us may
//! have read the same bytes otherwise, so that neither is served. hyper remains who parses: this
//! only looks on while a header section arrives. A request that was pipelined behind another one is
//! not looked at, and is served as hyper reads it, its framing made anew for the backend.

use memchr::memchr;

const LENGTH: &[u8] = b"content-length:";

/// Looks on as the bytes of a header section arrive.
#[derive(Default)]
pub(super) struct Witness {
    /// How the current line begins.
    start: [u8; LENGTH.len()],
    /// Bytes of the current line so far.
    column: usize,
    last: u8,
    seen: Seen,
    stage: Stage,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Stage {
    /// Nothing but empty lines so far, which belong to no request (RFC 9112 2.2).
    #[default]
    Before,
    Within,
    /// The empty line has come: what follows is a body, or another request.
    After,
}

/// What was seen of one header section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub has_length: bool,
    /// A line ended without a carriage return.
    pub has_bare_line_feed: bool,
}

impl Witness {
    /// Whether some of a header section has come, and not yet all.
    pub fn is_within(&self) -> bool {
        self.stage == Stage::Within
    }

    pub fn look(&mut self, mut bytes: &[u8]) {
        while self.stage != Stage::After && !bytes.is_empty() {
            let end = memchr(b'\n', bytes);
            if let (0, Some(end)) = (self.column, end) {
                let (line, rest) = bytes.split_at(end + 1);
                self.take_whole(line);
                bytes = rest;
                continue;
            }
            let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
            self.take(line);
            if end.is_some() {
                self.end_line(line);
            }
            self.last = line[line.len() - 1];
            bytes = rest;
        }
    }

    /// A line that came at once, as nearly all do: nothing of it needs to be kept.
    fn take_whole(&mut self, line: &[u8]) {
        let is_bare = !line.ends_with(b"\r\n");
        let is_empty = matches!(line, b"\n" | b"\r\n");
        self.seen.has_bare_line_feed |= is_bare;
        match (is_empty, self.stage) {
            (false, _) => self.stage = Stage::Within,
            (true, Stage::Within) => self.stage = Stage::After,
            (true, _) => {}
        }
        let start = line.get(..LENGTH.len());
        self.seen.has_length |= start.is_some_and(|start| start.eq_ignore_ascii_case(LENGTH));
        self.last = b'\n';
    }

    fn take(&mut self, part: &[u8]) {
        if let Some(room) = self.start.get_mut(self.column..) {
            let length = room.len().min(part.len());
            room[..length].copy_from_slice(&part[..length]);
        }
        self.column += part.len();
        if self.column > 2 || !matches!(part, b"\r" | b"\n" | b"\r\n") {
            self.stage = Stage::Within;
        }
    }

    /// `part` is what of the line came last, its line feed included.
    fn end_line(&mut self, part: &[u8]) {
        let before = part.len().checked_sub(2).map_or(self.last, |at| part[at]);
        let is_bare = self.column == 1 || before != b'\r';
        let is_empty = self.column == 1 || (self.column == 2 && !is_bare);
        self.seen.has_bare_line_feed |= is_bare;
        if is_empty && self.stage == Stage::Within {
            self.stage = Stage::After;
        }
        if self.column >= LENGTH.len() {
            self.seen.has_length |= self.start.eq_ignore_ascii_case(LENGTH);
        }
        self.column = 0;
    }

    /// The header section is complete; the next one begins.
    pub fn finish(&mut self) -> Seen {
        std::mem::take(self).seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Seen = Seen { has_length: true, has_bare_line_feed: false };
    const BARE: Seen = Seen { has_length: false, has_bare_line_feed: true };
    const NOTHING: Seen = Seen { has_length: false, has_bare_line_feed: false };

    const TABLE: &[(&str, Seen)] = &[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", NOTHING),
        ("GET / HTTP/1.1\r\nContent-Length: 5\r\nHost: a\r\n\r\n", LENGTH),
        ("GET / HTTP/1.1\r\ncOnTeNt-lEnGtH:5\r\n\r\n", LENGTH),
        ("\r\n\r\nGET / HTTP/1.1\r\nContent-Length:\r\n\r\n", LENGTH),
        ("GET / HTTP/1.1\r\nX-Content-Length: 5\r\n\r\n", NOTHING),
        ("GET / HTTP/1.1\r\nX: Content-Length: 5\r\n\r\n", NOTHING),
        ("GET / HTTP/1.1\r\nContent-Lengt: 5\r\n\r\n", NOTHING),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\nContent-Length: 5\r\n\r\n", NOTHING),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\n\n", NOTHING),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", BARE),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", BARE),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BARE),
        (
            "GET / HTTP/1.1\r\nHost: a\nContent-Length: 5\r\n\r\n",
            Seen { has_length: true, has_bare_line_feed: true },
        ),
    ];

    #[test]
    fn it_sees_the_same_however_the_bytes_arrive() {
        for &(text, expected) in TABLE {
            for size in 1..=text.len() {
                let mut witness = Witness::default();
                for part in text.as_bytes().chunks(size) {
                    witness.look(part);
                }
                assert_eq!(witness.finish(), expected, "{text:?} in parts of {size}");
                assert_eq!(witness.finish(), NOTHING);
            }
        }
    }
}
