//! What hyper does not tell of a request: which lines it settled by itself.
//!
//! hyper reads a request that has both framings by the chunks alone, lines of a header section that
//! end without a carriage return as if they had one, and a target without its fragment; behind the
//! last chunk it takes a bare line feed for the beginning of a trailer. RFC 9112 (2.2, 6.3) allows
//! some of it; but a proxy before us may have read the same bytes otherwise, so that none is
//! served. hyper remains who parses: this only looks on while the client's bytes arrive, and goes
//! past bodies by their framing to see the requests that are pipelined behind them. A header
//! section that two may read differently is refused when it is whole; of a chunked body hyper gets
//! no byte from the first line on that is not as RFC 9112 7.1 has it.

use memchr::memchr;

use super::fault::Fault;

const LENGTH: &[u8] = b"content-length:";
const CODING: &[u8] = b"transfer-encoding:";
/// As much of a line as is kept: more than either name with the longest number, or than a chunk's
/// size.
const KEPT: usize = 40;
/// Digits of a chunk's size. More overflow somewhere, if only by leading zeros.
const DIGITS: usize = 16;

/// Looks on as a client's bytes arrive.
pub(crate) struct RequestScanner {
    /// How the current line begins.
    start: [u8; KEPT],
    /// Bytes of the current line so far.
    column: usize,
    last: u8,
    stage: Stage,
    /// The current line is a request's first.
    is_first: bool,
    /// A line within a chunked body is malformed: hyper gets nothing more.
    is_broken: bool,
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

impl Default for RequestScanner {
    fn default() -> Self {
        Self {
            start: [0; KEPT],
            column: 0,
            last: 0,
            stage: Stage::Before,
            is_first: false,
            is_broken: false,
            head: Head::default(),
            sound: 0,
            wrong: None,
        }
    }
}

impl RequestScanner {
    /// Whether some of a header section has come, and not yet all.
    pub(crate) fn is_within(&self) -> bool {
        self.stage == Stage::Within
    }

    /// Whether more of a body is to come.
    pub(crate) fn is_in_body(&self) -> bool {
        matches!(self.stage, Stage::Content(_) | Stage::Size | Stage::Chunk(_) | Stage::Trailer)
    }

    /// How many of `bytes` hyper may have: all of them, or those before a malformed line's end.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> usize {
        let mut left = bytes;
        while !left.is_empty() && self.stage != Stage::Over {
            let rest = self.step(left);
            if self.is_broken {
                return bytes.len() - rest.len() - 1;
            }
            left = rest;
        }
        if self.is_broken { 0 } else { bytes.len() }
    }

    fn step<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        match self.stage {
            Stage::Content(left) => self.skip(left, bytes, Stage::Content, Stage::Before),
            Stage::Chunk(left) => self.skip(left, bytes, Stage::Chunk, Stage::Size),
            Stage::Before | Stage::Within | Stage::Size | Stage::Trailer => self.line(bytes),
            Stage::Over => &[],
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
            (self.stage, self.is_first) = (Stage::Within, true);
        }
        if self.is_first && memchr(b'#', line).is_some() {
            self.head.wrong = Some(Fault::BadTarget);
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
            Stage::Size | Stage::Trailer if is_bare => self.end_broken(),
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
        (self.column, self.is_first) = (0, false);
    }

    fn end_broken(&mut self) {
        (self.stage, self.is_broken) = (Stage::Over, true);
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

    /// `chunk-size [ chunk-ext ] CRLF`, where spaces stand before an extension alone.
    fn size(&mut self) {
        let line = &self.start[..(self.column - 2).min(KEPT)];
        let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        let (digits, rest) = line.split_at(end);
        let is_sound = digits.len() <= DIGITS
            && (self.column - 2 == end || rest.trim_ascii_start().first() == Some(&b';'));
        let size = std::str::from_utf8(digits).ok().filter(|_| is_sound);
        match size.and_then(|size| u64::from_str_radix(size, 16).ok()) {
            Some(0) => self.stage = Stage::Trailer,
            Some(size) if size <= u64::MAX - 2 => self.stage = Stage::Chunk(size + 2),
            _ => self.end_broken(),
        }
    }

    /// hyper has a whole header section. What is wrong with it that hyper does not mind?
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
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
    const TARGET: Result<(), Fault> = Err(Fault::BadTarget);
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
        ("GET /#x HTTP/1.1\r\n\r\n", &[TARGET]),
        ("\r\nGET /?x# HTTP/1.1\r\nX: y\r\n\r\n", &[TARGET]),
        ("GET / HTTP/1.1\r\nReferer: /#x\r\n\r\n", &[Ok(())]),
        ("GET / HTTP/1.1\r\n\r\nGET /#x HTTP/1.1\r\n\r\n", &[Ok(()), TARGET]),
    ];

    #[test]
    fn it_sees_the_same_however_the_bytes_arrive() {
        for &(text, expected) in TABLE {
            for size in 1..=text.len() {
                let mut scanner = RequestScanner::default();
                for part in text.as_bytes().chunks(size) {
                    scanner.look(part);
                }
                let finished: Vec<_> = expected.iter().map(|_| scanner.finish()).collect();
                assert_eq!(finished, expected, "{text:?} in parts of {size}");
            }
        }
    }

    /// Bodies, and how much of them hyper may have.
    const CHUNKS: &[(&str, Option<usize>)] = &[
        ("0\r\n\r\n", None),
        ("5\r\nhello\r\n0\r\nX: y\r\n\r\n", None),
        ("0005 ;a\r\nhello\r\n0;b\r\n\r\n", None),
        ("0000000000000005\t ; a=\"b c\"\r\nhello\r\n0\r\n\r\n", None),
        ("0\r\n\n", Some(3)),
        ("0\n\r\n", Some(1)),
        ("0\r\nX: y\n\r\n", Some(7)),
        ("0\r\nX: y\r\n\n", Some(9)),
        ("2\r\nab\r\n5;a\nhello", Some(10)),
        ("5 \r\nhello", Some(3)),
        ("5 a\r\nhello", Some(4)),
        (";a\r\nhello", Some(3)),
        ("\r\nhello", Some(1)),
        ("00000000000000005\r\nhello", Some(18)),
        ("fffffffffffffffe\r\nhello", Some(17)),
    ];

    #[test]
    fn of_a_malformed_body_hyper_has_what_is_sound() {
        const HEAD: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (chunks, sound) in CHUNKS {
            let text = [HEAD, chunks, "GET / HTTP/1.1\r\n\r\n"].concat();
            let expected = sound.map_or(text.len(), |sound| HEAD.len() + sound);
            for size in 1..=text.len() {
                let mut scanner = RequestScanner::default();
                let parts = text.as_bytes().chunks(size);
                let passed: usize = parts.map(|part| scanner.look(part)).sum();
                assert_eq!(passed, expected, "{chunks:?} in parts of {size}");
                assert_eq!(scanner.finish(), Ok(()), "{chunks:?}");
            }
        }
    }

    #[test]
    fn a_header_section_that_has_begun_is_seen_behind_a_body() {
        let mut scanner = RequestScanner::default();
        let within = |scanner: &mut RequestScanner, part: &str| {
            scanner.look(part.as_bytes());
            scanner.is_within()
        };
        assert!(within(&mut scanner, "POST / HTTP/1.1\r\nContent-Length: 4\r\n"));
        assert!(!within(&mut scanner, "\r\nGE"));
        assert!(!within(&mut scanner, "T "));
        assert!(!within(&mut scanner, "\r\n"));
        assert!(within(&mut scanner, "G"));
    }
}
