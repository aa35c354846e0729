//! What hyper does not tell of a request's header section: which lines it settled by itself.
//!
//! hyper reads a request that has both framings by the chunks alone, and lines that end without a
//! carriage return as if they had one. RFC 9112 (2.2, 6.3) allows both; but somebody before us may
//! have read the same bytes otherwise, so that neither is served. hyper remains who parses: this
//! only looks on while the client's bytes arrive, and goes past bodies by their framing to see the
//! requests that are pipelined behind them. Where it could lose its way, the request is refused.

use memchr::memchr;

use super::answer::Fault;

const LENGTH: &[u8] = b"content-length:";
const CODING: &[u8] = b"transfer-encoding:";
/// As much of a line as is kept: more than either name with the longest number, or than a chunk's
/// size.
const KEPT: usize = 40;

/// Looks on as a client's bytes arrive.
pub(super) struct Witness {
    /// How the current line begins.
    start: [u8; KEPT],
    /// Bytes of the current line so far.
    column: usize,
    last: u8,
    stage: Stage,
    head: Head,
    /// Header sections that have come whole and in order, and are not yet asked for.
    sound: usize,
    /// What is wrong with the one after them, if that has come whole.
    wrong: Option<Fault>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// Nothing but empty lines so far, which belong to no request (RFC 9112 2.2).
    Before,
    Within,
    /// Bytes of a body that are still to come.
    Content(u64),
    /// The line with the size of a chunk.
    Size,
    /// Bytes of a chunk that are still to come, with the line's end after it.
    Chunk(u64),
    /// The lines after the last chunk.
    Trailer,
    /// No other request is served after the last one.
    Over,
}

/// What was seen of one header section.
#[derive(Default)]
struct Head {
    length: Option<u64>,
    is_coded: bool,
    wrong: Option<Fault>,
}

impl Default for Witness {
    fn default() -> Self {
        Self {
            start: [0; KEPT],
            column: 0,
            last: 0,
            stage: Stage::Before,
            head: Head::default(),
            sound: 0,
            wrong: None,
        }
    }
}

impl Witness {
    /// Whether some of a header section has come, and not yet all.
    pub fn is_within(&self) -> bool {
        self.stage == Stage::Within
    }

    pub fn look(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.stage {
                Stage::Over => return,
                Stage::Content(left) => self.skip(left, bytes, Stage::Content, Stage::Before),
                Stage::Chunk(left) => self.skip(left, bytes, Stage::Chunk, Stage::Size),
                Stage::Before | Stage::Within | Stage::Size | Stage::Trailer => self.line(bytes),
            }
        }
    }

    fn skip<'b>(
        &mut self,
        left: u64,
        bytes: &'b [u8],
        more: fn(u64) -> Stage,
        then: Stage,
    ) -> &'b [u8] {
        let here = left.min(bytes.len() as u64);
        self.stage = if here == left { then } else { more(left - here) };
        &bytes[here as usize..]
    }

    /// Takes what there is of the current line; what comes after it.
    fn line<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let end = memchr(b'\n', bytes);
        let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
        if let Some(room) = self.start.get_mut(self.column..) {
            let length = room.len().min(line.len());
            room[..length].copy_from_slice(&line[..length]);
        }
        self.column += line.len();
        if self.stage == Stage::Before
            && (self.column > 2 || !matches!(line, b"\r" | b"\n" | b"\r\n"))
        {
            self.stage = Stage::Within;
        }
        if end.is_some() {
            self.end_line(line);
        }
        self.last = line[line.len() - 1];
        rest
    }

    /// `part` is what of the line came last, its line feed included.
    fn end_line(&mut self, part: &[u8]) {
        let before = part.len().checked_sub(2).map_or(self.last, |at| part[at]);
        let is_bare = self.column == 1 || before != b'\r';
        let is_empty = self.column == 1 || (self.column == 2 && !is_bare);
        match self.stage {
            Stage::Size => self.size(),
            Stage::Trailer if is_empty => self.stage = Stage::Before,
            Stage::Before | Stage::Within => {
                if is_bare {
                    self.head.wrong = Some(Fault::BareLineFeed);
                }
                if is_empty && self.stage == Stage::Within {
                    self.end_head();
                } else {
                    self.field();
                }
            }
            _ => {}
        }
        self.column = 0;
    }

    /// Notes a line that says where the body ends.
    fn field(&mut self) {
        let line = &self.start[..self.column.min(KEPT)];
        let has_name = |name: &[u8]| {
            line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        match line[0] {
            b'c' | b'C' if has_name(LENGTH) => {
                let digits = line[LENGTH.len()..].trim_ascii();
                let length = std::str::from_utf8(digits).ok().and_then(|it| it.parse().ok());
                match length {
                    Some(length) if self.column <= KEPT => self.head.length = Some(length),
                    _ => self.head.wrong = self.head.wrong.or(Some(Fault::BadLength)),
                }
            }
            b't' | b'T' if has_name(CODING) => self.head.is_coded = true,
            _ => {}
        }
    }

    fn end_head(&mut self) {
        let Head { length, is_coded, wrong } = std::mem::take(&mut self.head);
        let two = (is_coded && length.is_some()).then_some(Fault::TwoFramings);
        match wrong.or(two) {
            Some(wrong) => {
                self.wrong = Some(wrong);
                self.stage = Stage::Over;
            }
            None => {
                self.sound += 1;
                self.stage = match length {
                    _ if is_coded => Stage::Size,
                    Some(length) if length > 0 => Stage::Content(length),
                    _ => Stage::Before,
                };
            }
        }
    }

    /// Only hyper judges a chunk's size; if it is none, no request follows.
    fn size(&mut self) {
        let line = &self.start[..self.column.min(KEPT)];
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        let size = std::str::from_utf8(&line[..digits]).ok();
        self.stage = match size.and_then(|size| u64::from_str_radix(size, 16).ok()) {
            Some(0) => Stage::Trailer,
            Some(size) => size.checked_add(2).map_or(Stage::Over, Stage::Chunk),
            None => Stage::Over,
        };
    }

    /// hyper has a whole header section. What is wrong with it that hyper does not mind?
    pub fn finish(&mut self) -> Result<(), Fault> {
        if self.sound > 0 {
            self.sound -= 1;
            return Ok(());
        }
        // Where nothing is known of it, we differ about the body before.
        Err(self.wrong.unwrap_or(Fault::BadBody))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: Result<(), Fault> = Err(Fault::BareLineFeed);
    const TWO: Result<(), Fault> = Err(Fault::TwoFramings);
    const LENGTH: Result<(), Fault> = Err(Fault::BadLength);

    /// What is wrong with each of the header sections, one behind the other.
    const TABLE: &[(&str, &[Result<(), Fault>])] = &[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[Ok(())]),
        ("GET / HTTP/1.1\r\nContent-Length: 5\r\nHost: a\r\n\r\n", &[Ok(())]),
        ("GET / HTTP/1.1\r\nX-Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", &[Ok(())]),
        ("GET / HTTP/1.1\r\nX: Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", &[Ok(())]),
        ("GET / HTTP/1.1\r\nContent-Lengt: 5\r\nTransfer-Encoding: chunked\r\n\r\n", &[Ok(())]),
        ("GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", &[TWO]),
        ("GET / HTTP/1.1\r\ntRANSFER-eNCODING:\r\ncOnTeNt-lEnGtH:5\r\n\r\n", &[TWO]),
        ("\r\n\r\nGET / HTTP/1.1\r\nContent-Length:\r\n\r\n", &[LENGTH]),
        ("GET / HTTP/1.1\r\nContent-Length: 5;\r\n\r\n", &[LENGTH]),
        ("GET / HTTP/1.1\r\nContent-Length:                                5\r\n\r\n", &[LENGTH]),
        ("GET / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\n\n\n\n", &[Ok(())]),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", &[BARE]),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", &[BARE]),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[BARE]),
        ("GET / HTTP/1.1\r\nHost: a\nContent-Length: 5\r\n\r\n", &[BARE]),
        (
            "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\n\r\n",
            &[Ok(()), Ok(()), BARE],
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\n\nGET / HTTP/1.1\r\nX: \n\r\n",
            &[Ok(()), BARE],
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\n\n\r\nA\r\n0123\n56789\r\n\
             0\r\nX: y\r\n\r\n\r\nGET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n",
            &[Ok(()), TWO, TWO],
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            &[Ok(()), Ok(())],
        ),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno\r\nX\n\n", &[Ok(())]),
    ];

    #[test]
    fn it_sees_the_same_however_the_bytes_arrive() {
        for &(text, expected) in TABLE {
            for size in 1..=text.len() {
                let mut witness = Witness::default();
                for part in text.as_bytes().chunks(size) {
                    witness.look(part);
                }
                let finished: Vec<_> = expected.iter().map(|_| witness.finish()).collect();
                assert_eq!(finished, expected, "{text:?} in parts of {size}");
            }
        }
    }

    #[test]
    fn a_header_section_that_has_begun_is_seen_behind_a_body() {
        let mut witness = Witness::default();
        let within = |witness: &mut Witness, part: &str| {
            witness.look(part.as_bytes());
            witness.is_within()
        };
        assert!(within(&mut witness, "POST / HTTP/1.1\r\nContent-Length: 4\r\n"));
        assert!(!within(&mut witness, "\r\nGE"));
        assert!(!within(&mut witness, "T "));
        assert!(!within(&mut witness, "\r\n"));
        assert!(within(&mut witness, "G"));
    }
}
