//! What a header of version 2 says beside the addresses (TLVs): that it is whole, and its checksum
//! right. proxy-header reads these without a look at either.

use crc::{CRC_32_ISCSI, Crc, Table};

use super::malformed::MalformedHeader;

/// The signature, version and command, family, length.
const FIXED: usize = 16;
const IPV4: u8 = 0x11;
const IPV6: u8 = 0x21;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
/// Longer than any id of a connection.
const TOO_LONG_ID: usize = 129;
/// What a TLS session's facts begin with: who is known, and whether that was verified.
const SSL_FIXED: usize = 5;

static SUM: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// Checks a whole `header` of either version with addresses.
///
/// # Errors
/// [`MalformedHeader::Facts`] and [`MalformedHeader::Sum`].
pub(crate) fn check(header: &[u8]) -> Result<(), MalformedHeader> {
    let begin = match header.get(FIXED - 3) {
        _ if header.starts_with(b"PROXY ") => return Ok(()),
        Some(&IPV4) => FIXED + 2 * (4 + 2),
        Some(&IPV6) => FIXED + 2 * (16 + 2),
        _ => return Ok(()),
    };
    for fact in (Facts { header, at: begin }) {
        let (kind, at, value) = fact?;
        match (kind, value.len()) {
            (CRC32C, 4) => {
                let mut sum = SUM.digest();
                sum.update(&header[..at]);
                sum.update(&[0; 4]);
                sum.update(&header[at + 4..]);
                if sum.finalize().to_be_bytes() != value {
                    return Err(MalformedHeader::Sum);
                }
            }
            (CRC32C, _) | (UNIQUE_ID, TOO_LONG_ID..) | (SSL, ..SSL_FIXED) => {
                return Err(MalformedHeader::Facts);
            }
            (SSL, _) => {
                let within = Facts { header: &header[..at + value.len()], at: at + SSL_FIXED };
                for fact in within {
                    fact?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// One after the other, from a place in the header to its end: kind, place of the value, value.
struct Facts<'h> {
    header: &'h [u8],
    at: usize,
}

impl<'h> Iterator for Facts<'h> {
    type Item = Result<(u8, usize, &'h [u8]), MalformedHeader>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.header.get(self.at..).filter(|rest| !rest.is_empty())?;
        let begin = self.at + 3;
        let fact = rest.first_chunk().and_then(|&[kind, high, low]| {
            let end = begin + usize::from(u16::from_be_bytes([high, low]));
            Some((kind, begin, self.header.get(begin..end)?))
        });
        self.at = fact.map_or(self.header.len(), |(_, begin, value)| begin + value.len());
        Some(fact.ok_or(MalformedHeader::Facts))
    }
}
