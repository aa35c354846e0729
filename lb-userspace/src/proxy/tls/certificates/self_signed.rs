//! Throw-away certificates for names that have no other, on ports with `default_self_signed`.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use lru::LruCache;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SerialNumber};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::PrivateKeyDer,
    sign::{CertifiedKey, SigningKey},
};

use super::{error::CertificateError, load::Key, subject::Subject};

/// Certificates that are kept. Clients may ask for any name, and a name that was forgotten gets a
/// new one when it is asked for again.
const KEPT: NonZeroUsize = NonZeroUsize::new(4096).expect("more than none");
/// Of a common name, in characters (RFC 5280 A.1). Clients look at subjectAltName alone.
const LONGEST_COMMON_NAME: usize = 64;

/// One certificate for each name, made when a client asks for it, all of one key.
pub(crate) struct SelfSigned {
    pair: KeyPair,
    signing: Arc<dyn SigningKey>,
    /// Locked for a look or a note, and not while a certificate is made.
    made: Mutex<LruCache<Box<str>, Key>>,
}

impl SelfSigned {
    /// The same for all ports and configurations of this process, so that a client that has
    /// accepted one is not asked again.
    pub(crate) fn shared() -> Result<Arc<Self>, CertificateError> {
        static SHARED: OnceLock<Arc<SelfSigned>> = OnceLock::new();
        if let Some(shared) = SHARED.get() {
            return Ok(shared.clone());
        }
        let made = Arc::new(Self::new()?);
        Ok(SHARED.get_or_init(|| made).clone())
    }

    fn new() -> Result<Self, CertificateError> {
        let pair = KeyPair::generate()?;
        let der = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
        let signing = aws_lc_rs::sign::any_supported_type(&der);
        let unusable = |cause| CertificateError::Unusable {
            path: "the self-signed certificate".into(),
            cause,
        };
        Ok(Self {
            pair,
            signing: signing.map_err(unusable)?,
            made: Mutex::new(LruCache::new(KEPT)),
        })
    }

    pub(crate) fn find(&self, subject: Subject<'_>) -> Option<Key> {
        match subject {
            // As rustls has it, in lower case.
            Subject::Name(name) => self.named(name.strip_suffix('.').unwrap_or(name)),
            Subject::Address(address) => self.named(&address.to_string()),
        }
    }

    fn named(&self, name: &str) -> Option<Key> {
        if let Some(key) = self.lock().get(name) {
            return Some(key.clone());
        }
        let made = self.make(name);
        let key =
            made.inspect_err(|error| tracing::warn!(%name, %error, "no self-signed certificate"));
        let key = key.ok()?;
        // Where another worker was faster, all show what it has made.
        Some(self.lock().get_or_insert(name.into(), || key).clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<Box<str>, Key>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, name: &str) -> Result<Key, rcgen::Error> {
        let mut params = CertificateParams::new([name.to_owned()])?;
        // Browsers refuse two certificates of one issuer with the same number.
        params.serial_number = Some(SerialNumber::from_slice(&serial()));
        params.distinguished_name = DistinguishedName::new();
        let common_name: String = name.chars().take(LONGEST_COMMON_NAME).collect();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.self_signed(&self.pair)?;
        Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], self.signing.clone())))
    }
}

/// Positive, and of full length (RFC 5280 4.1.2.2).
fn serial() -> [u8; 16] {
    let mut serial = fastrand::u128(..).to_be_bytes();
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_of_its_own() {
        let certificates = SelfSigned::new().unwrap();
        let shown = ["app.example.com", "*.example.com", "203.0.113.9", "2001:db8::9"]
            .map(|name| certificates.named(name).unwrap());
        for (index, key) in shown.iter().enumerate() {
            assert!(shown[..index].iter().all(|earlier| earlier.cert != key.cert));
            assert!(key.cert[0].len() < 512, "{} bytes", key.cert[0].len());
        }
        assert_eq!(certificates.named("app.example.com").unwrap().cert, shown[0].cert);
        let parsed = shown.each_ref().map(|key| {
            let (_, parsed) = x509_parser::parse_x509_certificate(&key.cert[0]).unwrap();
            (parsed.raw_serial().to_vec(), parsed.subject().to_string())
        });
        assert!(parsed[0].0 != parsed[1].0 && parsed[0].1 == "CN=app.example.com", "{parsed:?}");
    }

    #[test]
    fn asking_for_ever_more_names_keeps_a_bounded_number() {
        let certificates = SelfSigned::new().unwrap();
        *certificates.lock() = LruCache::new(NonZeroUsize::new(8).unwrap());
        let first = certificates.named("0.example.com").unwrap();
        for number in 1..100 {
            certificates.named(&format!("{number}.example.com")).unwrap();
            certificates.named("0.example.com").unwrap();
        }
        assert_eq!(certificates.lock().len(), 8);
        let still = certificates.named("0.example.com").unwrap();
        assert_eq!(still.cert, first.cert, "one that is asked for stays");
    }
}
