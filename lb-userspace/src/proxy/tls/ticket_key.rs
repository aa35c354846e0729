//! One key that session tickets are encrypted with. Unlike that of rustls, it can be handed to the
//! process that takes this one's place.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    rand,
};
use rustls::server::ProducesTickets;

/// Bytes of AES-256.
const LENGTH: usize = 32;

/// AES-256-GCM with a random nonce for each ticket (NIST SP 800-38D 8.3: up to 2^32 of them). A
/// ticket is the nonce, then what it encrypts, then the tag.
pub(crate) struct TicketKey {
    secret: [u8; LENGTH],
    key: RandomizedNonceKey,
}

impl TicketKey {
    /// Makes a random one.
    pub(crate) fn random() -> Result<Self, Unspecified> {
        let mut secret = [0; LENGTH];
        rand::fill(&mut secret)?;
        Self::of(&secret)
    }

    pub(crate) fn of(secret: &[u8]) -> Result<Self, Unspecified> {
        let secret: [u8; LENGTH] = secret.try_into().map_err(|_| Unspecified)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &secret)?;
        Ok(Self { secret, key })
    }

    /// Returns its bytes, which must be kept as secret as the sessions.
    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }
}

impl ProducesTickets for TicketKey {
    fn enabled(&self) -> bool {
        true
    }

    /// The holder of the key says how long it is used.
    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = session.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::empty(), &mut sealed).ok()?;
        Some([&nonce.as_ref()[..], &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let length = self.key.open_in_place(nonce, Aad::empty(), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_secret_reads_the_tickets_and_nobody_else() {
        let key = TicketKey::random().unwrap();
        let ticket = key.encrypt(b"session").unwrap();
        assert_ne!(key.encrypt(b"session").unwrap(), ticket, "a nonce of its own");
        let same = TicketKey::of(key.secret()).unwrap();
        assert_eq!(same.decrypt(&ticket).unwrap(), b"session");
        assert_eq!(TicketKey::random().unwrap().decrypt(&ticket), None);
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert_eq!(same.decrypt(&changed), None, "byte {index}");
            assert_eq!(same.decrypt(&ticket[..index]), None);
        }
        assert!(TicketKey::of(&[0; 31]).is_err());
    }
}
