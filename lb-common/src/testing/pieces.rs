//! Options, extension headers and fragments: what stands between an IP header and ports.

use super::frames::Frame;

const L3: usize = 14;
/// 802.1Q and 802.1ad.
const TAGS: [[u8; 2]; 2] = [[0x81, 0], [0x88, 0xa8]];
const V6: usize = L3 + 40;

impl Frame {
    /// Where the packet ends by what its IP header says; there may be padding behind.
    #[must_use]
    pub fn packet_end(&self) -> Option<usize> {
        let tags = self.0[12..].chunks_exact(4).take_while(|tag| TAGS.contains(&[tag[0], tag[1]]));
        let l3 = L3 + 4 * tags.count();
        let length =
            |at| Some(u16::from_be_bytes([*self.0.get(at)?, *self.0.get(at + 1)?]) as usize);
        match *self.0.get(l3 - 2..l3)? {
            [8, 0] => Some(l3 + length(l3 + 2)?),
            [0x86, 0xdd] => Some(l3 + 40 + length(l3 + 4)?),
            _ => None,
        }
    }

    fn is_v4(&self) -> bool {
        self.0[L3] >> 4 == 4
    }

    /// With IPv4 options, a multiple of four bytes of them.
    #[must_use]
    pub fn with_options(mut self, options: &[u8]) -> Self {
        self.0.splice(L3 + 20..L3 + 20, options.iter().copied());
        self.0[L3] += (options.len() / 4) as u8;
        self.lengthen(options.len() as i16)
    }

    /// With an IPv6 extension header before all that are there; `body` lacks the byte that says
    /// what comes next.
    #[must_use]
    pub fn with_extension(mut self, kind: u8, body: &[u8]) -> Self {
        let next = std::mem::replace(&mut self.0[L3 + 6], kind);
        self.0.splice(V6..V6, [&[next], body].concat());
        self.lengthen(1 + body.len() as i16)
    }

    /// The same frame in fragments of at most `size` bytes, a multiple of eight.
    #[must_use]
    pub fn fragments(&self, id: u32, size: usize) -> Vec<Self> {
        let header = if self.is_v4() { L3 + 4 * (self.0[L3] & 0xf) as usize } else { V6 };
        let length = self.0.len() - header;
        (0..length)
            .step_by(size)
            .map(|at| self.fragment(id, header, at, size.min(length - at), at + size < length))
            .collect()
    }

    /// `length` bytes from `at` on of what follows the header as a fragment by themselves.
    #[must_use]
    pub fn fragment(&self, id: u32, header: usize, at: usize, length: usize, more: bool) -> Self {
        let data = &self.0[header + at..header + at + length];
        let whole = self.0.len() - header;
        let frame = Self([&self.0[..header], data].concat());
        let place = at as u16;
        if !self.is_v4() {
            let [a, b] = (place | u16::from(more)).to_be_bytes();
            let [c, d, e, f] = id.to_be_bytes();
            let frame = frame.lengthen(length as i16 - whole as i16);
            return frame.with_extension(44, &[0, a, b, c, d, e, f]);
        }
        let flags = (place / 8) | if more { 0x2000 } else { 0 };
        let frame = frame.patch(L3 + 4, &(id as u16).to_be_bytes());
        frame.patch(L3 + 6, &flags.to_be_bytes()).lengthen(length as i16 - whole as i16)
    }

    /// With so many bytes more in the IP header's length, and its checksum right.
    #[must_use]
    pub fn lengthen(mut self, by: i16) -> Self {
        let place = L3 + if self.is_v4() { 2 } else { 4 };
        let length = i16::from_be_bytes([self.0[place], self.0[place + 1]]) + by;
        self.0[place..place + 2].copy_from_slice(&length.to_be_bytes());
        self.summed()
    }

    /// With the IPv4 header checksum that it should have.
    #[must_use]
    pub fn summed(mut self) -> Self {
        if self.is_v4() {
            let end = L3 + 4 * (self.0[L3] & 0xf) as usize;
            self.0[L3 + 10..L3 + 12].fill(0);
            let words =
                self.0[L3..end].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
            let sum: u32 = words.sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            let check = !((sum & 0xffff) + (sum >> 16)) as u16;
            self.0[L3 + 10..L3 + 12].copy_from_slice(&check.to_be_bytes());
        }
        self
    }

    /// Where a fragment's identification stands.
    fn identification(&self) -> Option<std::ops::Range<usize>> {
        if self.0.len() < V6 || ![[8, 0], [0x86, 0xdd]].contains(&[self.0[12], self.0[13]]) {
            return None;
        }
        if self.is_v4() {
            let piece = [self.0[L3 + 6] & 0x3f, self.0[L3 + 7]] != [0, 0];
            return piece.then_some(L3 + 4..L3 + 6);
        }
        let (mut next, mut at) = (self.0[L3 + 6], V6);
        while [0, 43, 44, 60].contains(&next) && at + 8 <= self.0.len() {
            if next == 44 {
                let whole = [self.0[at + 2], self.0[at + 3] & 0xf9] == [0, 0];
                return (!whole).then_some(at + 4..at + 8);
            }
            (next, at) = (self.0[at], at + 8 * (1 + self.0[at + 1] as usize));
        }
        None
    }

    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.identification().is_some()
    }

    pub(crate) fn is_later_v6_fragment(&self) -> bool {
        let v6 = self.0[12..14] == [0x86, 0xdd];
        let place = self.identification().filter(|_| v6);
        place.is_some_and(|id| [self.0[id.start - 2], self.0[id.start - 1] & 0xf8] != [0, 0])
    }

    /// With an identification that is `by` further on, if it is a fragment.
    #[must_use]
    pub(crate) fn renumbered(self, by: u16) -> Self {
        let Some(place) = self.identification() else { return self };
        let low = place.end - 2;
        let id = u16::from_be_bytes([self.0[low], self.0[low + 1]]).wrapping_add(by);
        self.patch(low, &id.to_be_bytes()).summed()
    }

    /// With another fragment's identification: which one it gets nobody can foresee.
    #[must_use]
    pub fn numbered_as(self, other: &Self) -> Self {
        match (self.identification(), other.identification()) {
            (Some(place), Some(theirs)) => self.patch(place.start, &other.0[theirs]).summed(),
            _ => self,
        }
    }
}
