//! Where in a header section the fields' names and values are (RFC 7541 5, 6).

/// A header section, and what the connection remembers of those before.
#[derive(Default)]
pub(crate) struct FieldSection {
    /// Bytes of a priority that are still to come before the first field.
    priority: u32,
    stream: u32,
    /// The stream that it depends on, as far as it has come.
    dependency: u32,
    /// It depends on itself.
    is_circular: bool,
    step: Step,
    /// A number that takes more than its first byte.
    number: Option<(Kind, u32, u32)>,
    /// The current field goes into the table.
    is_kept: bool,
    is_path: bool,
    /// The current name or value is compressed.
    is_coded: bool,
    /// How the current name begins, and how long it is.
    name: [u8; 5],
    length: u32,
    code: Code,
    /// Which of the table's fields are paths, the latest in the lowest bit. It has 128 fields at
    /// most, and where they give way to others they are the oldest.
    paths: u128,
}

/// What comes next.
#[derive(Clone, Copy, Default, PartialEq)]
enum Step {
    #[default]
    Field,
    NameLength,
    /// So many bytes.
    Name(u32),
    ValueLength,
    Value(u32),
}

/// What a number says.
#[derive(Clone, Copy)]
enum Kind {
    /// A field that is in a table, or the table's size.
    Nothing,
    NameIndex,
    NameLength,
    ValueLength,
}

const PATH: &[u8] = b":path";
/// The same compressed.
const CODED_PATH: &[u8] = &[0xb9, 0x58, 0xd3, 0x3f];
/// Fields named so in the static table.
const STATIC_PATHS: std::ops::RangeInclusive<u32> = 4..=5;
const FIRST_DYNAMIC: u32 = 62;
/// Index 0, which is an error (RFC 7541 6.1).
const NO_FIELD: u8 = 0x80;
/// The bits of a stream's number. The one before them is ignored (RFC 9113 4.1).
const STREAM: u32 = u32::MAX >> 1;

impl FieldSection {
    /// Begins the section of `stream`, behind a priority of so many bytes.
    pub(super) fn begin(&mut self, stream: u32, priority: u32) {
        (self.stream, self.priority, self.dependency) = (stream & STREAM, priority, 0);
        (self.is_circular, self.step, self.number) = (false, Step::Field, None);
    }

    pub(super) fn read(&mut self, bytes: &mut [u8]) {
        let mut at = bytes.len().min(self.priority as usize);
        self.read_priority(&mut bytes[..at]);
        if self.is_circular && at < bytes.len() {
            self.is_circular = false;
            bytes[at] = NO_FIELD;
        }
        while at < bytes.len() {
            let left = (bytes.len() - at) as u32;
            if let Some((kind, number, shift)) = self.number {
                let byte = bytes[at];
                let more = u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(u32::MAX);
                let number = number.saturating_add(more);
                self.number = (byte & 0x80 != 0).then_some((kind, number, shift.saturating_add(7)));
                if self.number.is_none() {
                    self.counted(kind, number);
                }
                at += 1;
                continue;
            }
            match self.step {
                Step::Field => self.field(bytes[at]),
                Step::NameLength => self.length(Kind::NameLength, bytes[at]),
                Step::ValueLength => self.length(Kind::ValueLength, bytes[at]),
                Step::Name(length) => {
                    let here = left.min(length);
                    self.name(&bytes[at..at + here as usize], length);
                    at += here as usize;
                    continue;
                }
                Step::Value(length) => {
                    let here = left.min(length);
                    self.value(&mut bytes[at..at + here as usize], length);
                    at += here as usize;
                    continue;
                }
            }
            at += 1;
        }
    }

    /// A stream that depends on itself would be reset by h2 (RFC 7540 5.3.1) without a look at its
    /// fields, and the tables of both ends would differ from then on. It depends on another one
    /// instead, and the first field becomes one that no table has: that ends the connection.
    fn read_priority(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.priority -= 1;
            if self.priority > 0 {
                self.dependency = self.dependency << 8 | u32::from(*byte);
            }
            if self.priority == 1 && self.dependency & STREAM == self.stream {
                *byte ^= 1;
                self.is_circular = true;
            }
        }
    }

    /// The first byte of a field (RFC 7541 6).
    fn field(&mut self, byte: u8) {
        let (kind, bits) = match byte {
            0x80.. => (Kind::Nothing, 7),
            0x40.. => (Kind::NameIndex, 6),
            0x20.. => (Kind::Nothing, 5),
            _ => (Kind::NameIndex, 4),
        };
        self.is_kept = bits == 6;
        self.begin_number(kind, bits, byte);
    }

    fn length(&mut self, kind: Kind, byte: u8) {
        self.is_coded = byte & 0x80 != 0;
        self.begin_number(kind, 7, byte);
    }

    /// A number begins in the lower `bits` of `byte` (RFC 7541 5.1).
    fn begin_number(&mut self, kind: Kind, bits: u32, byte: u8) {
        let most = (1 << bits) - 1;
        let number = u32::from(byte) & most;
        if number == most {
            self.number = Some((kind, number, 0));
        } else {
            self.counted(kind, number);
        }
    }

    fn counted(&mut self, kind: Kind, number: u32) {
        match kind {
            Kind::Nothing => self.step = Step::Field,
            Kind::NameIndex if number == 0 => self.step = Step::NameLength,
            Kind::NameIndex => {
                let kept = number.checked_sub(FIRST_DYNAMIC);
                let kept = kept.and_then(|age| self.paths.checked_shr(age));
                self.is_path = STATIC_PATHS.contains(&number) || kept.is_some_and(|it| it & 1 == 1);
                self.step = Step::ValueLength;
            }
            Kind::NameLength => {
                (self.name, self.length) = (Default::default(), 0);
                self.step = Step::Name(number);
                if number == 0 {
                    self.name(&[], 0);
                }
            }
            Kind::ValueLength => {
                self.code = Code::default();
                self.step = Step::Value(number);
                if number == 0 {
                    self.value(&mut [], 0);
                }
            }
        }
    }

    /// `part` of what is left of a name.
    fn name(&mut self, part: &[u8], left: u32) {
        for &byte in part.iter().take(self.name.len()) {
            if let Some(place) = self.name.get_mut(self.length as usize) {
                *place = byte;
            }
            self.length = self.length.saturating_add(1);
        }
        let rest = part.len().saturating_sub(self.name.len()) as u32;
        self.length = self.length.saturating_add(rest);
        self.step = Step::Name(left - part.len() as u32);
        if self.step == Step::Name(0) {
            let name = self.name.get(..self.length as usize);
            self.is_path = name == Some(if self.is_coded { CODED_PATH } else { PATH });
            self.step = Step::ValueLength;
        }
    }

    /// `part` of what is left of a value.
    fn value(&mut self, part: &mut [u8], left: u32) {
        if self.is_path {
            for byte in &mut *part {
                if self.is_coded {
                    self.code.mark(byte);
                } else if *byte == b'#' {
                    *byte = b'>';
                }
            }
        }
        self.step = Step::Value(left - part.len() as u32);
        if self.step == Step::Value(0) {
            if self.is_kept {
                self.paths = self.paths << 1 | u128::from(self.is_path);
            }
            self.step = Step::Field;
        }
    }
}

/// How many signs have codes of each length, from one bit on. The codes are numbered in the order
/// of their lengths (RFC 7541 appendix B), which says where each ends.
const SIGNS: [u32; 30] = [
    0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29,
    0, 4,
];
/// `#`. With its last bit set it is `>`.
const FRAGMENT: (u32, usize) = (0xffa, 12);

/// The bits of a sign that have come.
#[derive(Default)]
struct Code {
    bits: u32,
    length: usize,
    /// The first code of as many bits.
    first: u32,
}

impl Code {
    fn mark(&mut self, byte: &mut u8) {
        for place in (0..8).rev() {
            self.bits = self.bits << 1 | u32::from(*byte >> place & 1);
            self.first <<= 1;
            let Some(signs) = SIGNS.get(self.length) else {
                return;
            };
            self.length += 1;
            if (self.bits, self.length) == FRAGMENT {
                *byte |= 1 << place;
            }
            if self.bits.wrapping_sub(self.first) < *signs {
                *self = Self::default();
            } else {
                self.first += signs;
            }
        }
    }
}
