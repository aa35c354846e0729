//! Certificates for the lab, made by openssl.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::lab::process::output;

/// The files of a self-signed certificate.
pub struct Issued {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Issued {
    /// As an entry of the configuration.
    #[must_use]
    pub fn toml(&self) -> String {
        let (cert, key) = (self.cert.display(), self.key.display());
        format!("[[certificates]]\ncert = \"{cert}\"\nkey = \"{key}\"\n\n")
    }
}

/// A certificate with P-256 for the DNS names `names`, in files called after `stem`.
pub fn issue(directory: &Path, stem: &str, names: &[&str]) -> Result<Issued> {
    issue_with(directory, stem, names, &["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
}

/// The same with RSA.
pub fn issue_rsa(directory: &Path, stem: &str, names: &[&str]) -> Result<Issued> {
    issue_with(directory, stem, names, &["rsa:2048"])
}

fn issue_with(directory: &Path, stem: &str, names: &[&str], kind: &[&str]) -> Result<Issued> {
    let issued = Issued {
        cert: directory.join(format!("{stem}.pem")),
        key: directory.join(format!("{stem}-key.pem")),
    };
    let alternatives: Vec<_> = names.iter().map(|name| format!("DNS:{name}")).collect();
    output(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey"])
            .args(kind)
            .args(["-nodes", "-days", "2", "-subj", &format!("/CN={stem}")])
            .args(["-addext", &format!("subjectAltName={}", alternatives.join(","))])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&issued.key)
            .arg("-out")
            .arg(&issued.cert),
    )?;
    Ok(issued)
}
