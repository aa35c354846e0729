//! What servers are told of a client's certificate: an element of `X-Forwarded-Client-Cert`, as
//! Envoy writes it. `Hash`, `Cert`, `Subject`, and each `URI` and `DNS` of the subjectAltName, in
//! this order.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert>

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use hyper::header::HeaderValue;
use rustls::{ServerConnection, pki_types::CertificateDer};
use x509_parser::{
    extensions::GeneralName,
    objects::{oid_registry, oid2abbrev},
    prelude::{FromDer, X509Certificate},
    x509::{AttributeTypeAndValue, X509Name},
};

/// The largest certificate, in bytes of DER, that is told whole: it is in every request, and
/// servers take header sections of 8 KiB at least.
const LONGEST_CERT: usize = 3 * 1024;

/// Of the client behind `connection`. `None`: it showed no certificate.
pub(crate) fn element(connection: &ServerConnection) -> Option<HeaderValue> {
    let leaf = connection.peer_certificates()?.first()?;
    describe(leaf)
}

fn describe(leaf: &CertificateDer<'_>) -> Option<HeaderValue> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let mut text = "Hash=".to_owned();
    write_hex(&mut text, digest(&SHA256, leaf).as_ref());
    if leaf.len() <= LONGEST_CERT {
        text.push_str(";Cert=\"");
        write_encoded(&mut text, &pem::encode(&pem::Pem::new("CERTIFICATE", leaf.to_vec())));
        text.push('"');
    }
    text.push_str(";Subject=\"");
    write_name(&mut text, parsed.subject());
    text.push('"');
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    for name in alternatives.iter().flat_map(|found| &found.value.general_names) {
        match name {
            GeneralName::URI(uri) => write_value(&mut text, "URI", uri),
            GeneralName::DNSName(name) => write_value(&mut text, "DNS", name),
            _ => {}
        }
    }
    HeaderValue::try_from(text).ok()
}

fn write_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
}

/// Percent-encoded but for what no URL needs to encode (RFC 3986 2.3).
fn write_encoded(text: &mut String, pem: &str) {
    for byte in pem.replace("\r\n", "\n").bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
}

/// Neither can have quotes, backslashes or spaces in it (RFC 3986, RFC 1034). An issuer that writes
/// them all the same must not be able to begin another element.
fn write_value(text: &mut String, key: &str, value: &str) {
    let is_sound = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if !value.bytes().all(is_sound) {
        return;
    }
    let quote = if value.contains([',', ';', '=']) { "\"" } else { "" };
    let _ = write!(text, ";{key}={quote}{value}{quote}");
}

/// By RFC 2253: the last part first.
fn write_name(text: &mut String, name: &X509Name<'_>) {
    let parts: Vec<_> = name.iter_rdn().collect();
    for (index, part) in parts.into_iter().rev().enumerate() {
        text.push_str(if index > 0 { "," } else { "" });
        for (index, attribute) in part.iter().enumerate() {
            text.push_str(if index > 0 { "+" } else { "" });
            write_attribute(text, attribute);
        }
    }
}

fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    match oid2abbrev(attribute.attr_type(), oid_registry()) {
        Ok(short) => text.push_str(short),
        Err(_) => text.push_str(&attribute.attr_type().to_id_string()),
    }
    text.push('=');
    let value = attribute.as_slice();
    for (index, &byte) in value.iter().enumerate() {
        let is_edge = index == 0 || index + 1 == value.len();
        match byte {
            b',' | b'+' | b'<' | b'>' | b';' | b'=' => text.extend(['\\', char::from(byte)]),
            b' ' if is_edge => text.push_str("\\20"),
            b'#' if index == 0 => text.push_str("\\23"),
            // Quotes and backslashes in hexadecimal digits: whoever reads the header looks for
            // quotes first, and not all know which backslash belongs to what.
            b' '..=b'~' if byte != b'"' && byte != b'\\' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn described(names: &[(DnType, &str)], alternatives: Vec<SanType>) -> (String, Vec<u8>) {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = alternatives;
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let text = describe(made.der()).unwrap().to_str().unwrap().to_owned();
        (text, made.der().to_vec())
    }

    /// What follows the certificate itself.
    fn rest(text: &str) -> &str {
        &text[text.find(";Subject=").unwrap()..]
    }

    #[test]
    fn the_certificate_itself_can_be_had_from_it() {
        let (text, der) = described(&[(DnType::CommonName, "alice")], vec![]);
        let cert = text.split("Cert=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(cert.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%-._~".contains(&byte)));
        let mut decoded = Vec::new();
        let mut bytes = cert.bytes();
        while let Some(byte) = bytes.next() {
            decoded.push(match byte {
                b'%' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                plain => plain,
            });
        }
        assert_eq!(pem::parse(&decoded).unwrap().contents(), der);
        let hash = text.strip_prefix("Hash=").unwrap().split(';').next().unwrap();
        let expected: String =
            digest(&SHA256, &der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, expected);
    }

    #[test]
    fn names_cannot_begin_another_element() {
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
        let person = |name| vec![(DnType::CommonName, name)];
        for (names, alternatives, expected) in [
            (person("alice"), vec![], ";Subject=\"CN=alice\""),
            (
                vec![(DnType::CountryName, "DE"), (DnType::CommonName, "Ann, of \"X\"; Y=\\")],
                vec![],
                ";Subject=\"CN=Ann\\, of \\22X\\22\\; Y\\=\\5C,C=DE\"",
            ),
            (person("Änn"), vec![], ";Subject=\"CN=\\C3\\84nn\""),
            (person(" #a\r\nb "), vec![], ";Subject=\"CN=\\20#a\\0D\\0Ab\\20\""),
            (person("#a"), vec![], ";Subject=\"CN=\\23a\""),
            (
                person("a"),
                vec![uri("spiffe://x/ns/y"), dns("a.example.com"), dns("b.example.com")],
                ";Subject=\"CN=a\";URI=spiffe://x/ns/y;DNS=a.example.com;DNS=b.example.com",
            ),
            (
                person("a"),
                vec![uri("urn:x;URI=spiffe://admin,y")],
                ";Subject=\"CN=a\";URI=\"urn:x;URI=spiffe://admin,y\"",
            ),
            (
                person("a"),
                vec![uri("urn:\";URI=spiffe://admin"), dns("a\\"), dns("a b"), dns("c")],
                ";Subject=\"CN=a\";DNS=c",
            ),
            (vec![], vec![dns("c")], ";Subject=\"\";DNS=c"),
        ] {
            let (text, _) = described(&names, alternatives);
            assert_eq!(rest(&text), expected);
        }
    }
}
