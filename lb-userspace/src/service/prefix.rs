//! Ranges of addresses with a common beginning.

use std::{fmt, net::IpAddr};

/// Addresses whose first `length` bits are those of `address`. The other bits of it are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// `None`: longer than an address of its family.
    ///
    /// Bits of `address` beyond `length` are cleared.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32_u32.checked_sub(length.into())?).unwrap_or(0);
                IpAddr::from((v4.to_bits() & mask).to_be_bytes())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128_u32.checked_sub(length.into())?).unwrap_or(0);
                IpAddr::from((v6.to_bits() & mask).to_be_bytes())
            }
        };
        Some(Self { address, length })
    }

    /// The first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// In bits.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Self::new(address, self.length).is_some_and(|other| other == *self)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: &str, length: u8) -> Option<Prefix> {
        Prefix::new(address.parse().unwrap(), length)
    }

    #[test]
    fn bits_behind_the_prefix_are_cleared() {
        for (address, length, shown) in [
            ("10.1.2.3", 8, "10.0.0.0/8"),
            ("10.1.2.3", 0, "0.0.0.0/0"),
            ("10.1.2.3", 32, "10.1.2.3/32"),
            ("2001:db8::ff", 124, "2001:db8::f0/124"),
            ("2001:db8::ff", 0, "::/0"),
        ] {
            assert_eq!(prefix(address, length).unwrap().to_string(), shown);
        }
        assert_eq!(prefix("10.1.2.3", 33), None);
        assert_eq!(prefix("::", 129), None);
    }

    #[test]
    fn a_prefix_contains_its_own_family_only() {
        let ten = prefix("10.0.0.0", 8).unwrap();
        assert!(ten.contains("10.255.0.1".parse().unwrap()));
        assert!(!ten.contains("11.0.0.1".parse().unwrap()));
        assert!(!prefix("0.0.0.0", 0).unwrap().contains("::".parse().unwrap()));
    }
}
