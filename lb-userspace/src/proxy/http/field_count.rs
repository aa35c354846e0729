//! How many fields a header section of HTTP/2 has, before anybody holds them.
//!
//! A field may be one byte (RFC 7541 6.1) that becomes a hundred in memory, and what h2 bounds is
//! bytes. This goes past each field without reading what it says, so that it needs no table.

/// Goes through one header section, however its bytes arrive.
#[derive(Default)]
pub(crate) struct FieldCount {
    stage: Stage,
    /// Strings of the current field that are still to come.
    strings: u8,
    fields: usize,
}

#[derive(Clone, Copy, Default)]
enum Stage {
    /// A field begins.
    #[default]
    Field,
    /// In the rest of a number that says which field, or how large the table is.
    Index,
    /// A string begins.
    Length,
    /// In the rest of its length: as far as it is known, and how far that is.
    LengthGoesOn(u64, u32),
    /// Bytes of it that are still to come.
    Text(u64),
}

impl FieldCount {
    /// Fields that have begun.
    pub(crate) fn fields(&self) -> usize {
        self.fields
    }

    pub(crate) fn look(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = match self.stage {
                Stage::Text(left) => {
                    let here = left.min(bytes.len() as u64);
                    self.stage = Stage::Text(left - here);
                    self.end_text();
                    &bytes[here as usize..]
                }
                _ => {
                    self.take(byte);
                    rest
                }
            };
        }
    }

    fn take(&mut self, byte: u8) {
        const MORE: u8 = 0x80;
        match self.stage {
            Stage::Field => self.begin(byte),
            Stage::Index if byte & MORE == 0 => self.after_index(),
            Stage::Length if byte & 0x7f == 0x7f => self.stage = Stage::LengthGoesOn(0x7f, 0),
            Stage::Length => self.begin_text(u64::from(byte & 0x7f)),
            Stage::LengthGoesOn(length, shift) => {
                // h2 refuses lengths of which so much is missing.
                let more = u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(u64::MAX);
                let length = length.saturating_add(more);
                if byte & MORE == 0 {
                    self.begin_text(length);
                } else {
                    self.stage = Stage::LengthGoesOn(length, shift.saturating_add(7));
                }
            }
            Stage::Index | Stage::Text(_) => {}
        }
    }

    fn begin(&mut self, byte: u8) {
        let (mask, is_field, has_value) = match byte {
            0x80.. => (0x7f, true, false),
            0x40.. => (0x3f, true, true),
            // The table's size.
            0x20.. => (0x1f, false, false),
            _ => (0x0f, true, true),
        };
        self.fields += usize::from(is_field);
        let index = byte & mask;
        // Without an index the name is a string.
        self.strings = u8::from(has_value) + u8::from(has_value && index == 0);
        if index == mask {
            self.stage = Stage::Index;
        } else {
            self.after_index();
        }
    }

    fn after_index(&mut self) {
        self.stage = if self.strings > 0 { Stage::Length } else { Stage::Field };
    }

    fn begin_text(&mut self, length: u64) {
        self.stage = Stage::Text(length);
        self.end_text();
    }

    fn end_text(&mut self) {
        if let Stage::Text(0) = self.stage {
            self.strings -= 1;
            self.after_index();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 C.2 to C.4, and what is long.
    const TABLE: &[(&[u8], usize)] = &[
        (b"", 0),
        (b"\x40\x0acustom-key\x0dcustom-header", 1),
        (b"\x04\x0c/sample/path", 1),
        (b"\x10\x08password\x06secret", 1),
        (b"\x82", 1),
        (b"\x82\x86\x84\x41\x0fwww.example.com", 4),
        (b"\x82\x86\x84\xbe\x58\x08no-cache", 5),
        (b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value", 5),
        (b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", 4),
        // The table's size is no field, in one byte or more; an index may have more than one, too.
        (b"\x20\x3f\xe1\x1f\x82", 1),
        (b"\xff\x80\x01\x7f\x80\x01\x01v\x0f\x81\x01\x01v", 3),
        // Strings without a byte, and one of 255.
        (b"\x00\x00\x00\x40\x01a\x00", 2),
    ];

    #[test]
    fn it_counts_the_same_however_the_bytes_arrive() {
        let long = [b"\x00\x01a\x7f\x80\x01".as_slice(), &[0x82; 255], b"\x82"].concat();
        for (bytes, fields) in TABLE.iter().copied().chain([(&*long, 2)]) {
            for size in 1..=bytes.len().max(1) {
                let mut count = FieldCount::default();
                bytes.chunks(size).for_each(|part| count.look(part));
                assert_eq!(count.fields(), fields, "{bytes:?} in parts of {size}");
                // What follows is seen for what it is.
                count.look(b"\x82");
                assert_eq!(count.fields(), fields + 1, "{bytes:?} in parts of {size}");
            }
        }
    }
}
