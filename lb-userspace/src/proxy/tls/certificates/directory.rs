//! Certificates and keys that lie in a directory, as the usual tools leave them there.
//!
//! | files | whose way |
//! |---|---|
//! | `fullchain.pem`, `privkey.pem` | certbot; nothing else in that directory counts |
//! | `NAME.crt` or `NAME.pem`, `NAME.key` | most; `tls.crt`, `tls.key` are Kubernetes' |
//! | `NAME.pem`, `NAME-key.pem` | mkcert, cfssl |
//! | `NAME.pem` with both inside | HAProxy |
//!
//! Directories inside are looked into, one level deep. What begins with a dot is passed over.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::settings::CertificateFiles;

/// The pairs in `directory`, in the order of their names.
pub(crate) fn pairs(directory: &Path) -> io::Result<Vec<CertificateFiles>> {
    let (files, directories) = list(directory)?;
    let mut pairs = pairs_among(directory, &files);
    for inner in directories {
        let (files, _) = list(&inner)?;
        pairs.extend(pairs_among(&inner, &files));
    }
    Ok(pairs)
}

/// Names of the files, and paths of the directories. Links count as what they lead to.
fn list(directory: &Path) -> io::Result<(BTreeSet<String>, BTreeSet<PathBuf>)> {
    let (mut files, mut directories) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| !name.starts_with('.')) else {
            continue;
        };
        // What vanished meanwhile, or is a link to nowhere, is neither.
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => drop(directories.insert(path)),
            Ok(_) => drop(files.insert(name.to_owned())),
            Err(_) => {}
        }
    }
    Ok((files, directories))
}

fn pairs_among(directory: &Path, files: &BTreeSet<String>) -> Vec<CertificateFiles> {
    let pair = |cert: &str, key: &str| CertificateFiles {
        cert: directory.join(cert),
        key: directory.join(key),
    };
    if files.contains("fullchain.pem") && files.contains("privkey.pem") {
        return vec![pair("fullchain.pem", "privkey.pem")];
    }
    let pairs = files.iter().filter_map(|name| {
        let (stem, extension) = name.rsplit_once('.')?;
        if !matches!(extension, "crt" | "pem") || stem.ends_with("-key") {
            return None;
        }
        let keys = [format!("{stem}.key"), format!("{stem}-key.pem")];
        match keys.iter().find(|key| files.contains(*key)) {
            Some(key) => Some(pair(name, key)),
            None => has_key(&directory.join(name)).then(|| pair(name, name)),
        }
    });
    pairs.collect()
}

/// Chains and authorities lie about without keys.
fn has_key(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.contains("PRIVATE KEY-----"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_layouts_are_understood() {
        let root = std::env::temp_dir().join(format!("lb-directory-{}", std::process::id()));
        for (path, text) in [
            ("web.crt", ""),
            ("web.key", ""),
            ("ca.crt", "-----BEGIN CERTIFICATE-----"),
            ("mk.pem", ""),
            ("mk-key.pem", ""),
            ("both.pem", "-----BEGIN PRIVATE KEY-----"),
            ("README", ""),
            (".hidden.crt", ""),
            (".hidden.key", ""),
            ("live/fullchain.pem", ""),
            ("live/privkey.pem", ""),
            ("live/cert.pem", ""),
            ("live/chain.pem", ""),
            ("secret/tls.crt", ""),
            ("secret/tls.key", ""),
            ("secret/deeper/too.crt", ""),
            ("secret/deeper/too.key", ""),
            ("..data/tls.crt", ""),
            ("..data/tls.key", ""),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = pairs(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|pair| [&pair.cert, &pair.key].map(|it| it.strip_prefix(&root).unwrap()))
            .collect();
        let expected = [
            ["both.pem", "both.pem"],
            ["mk.pem", "mk-key.pem"],
            ["web.crt", "web.key"],
            ["live/fullchain.pem", "live/privkey.pem"],
            ["secret/tls.crt", "secret/tls.key"],
        ];
        assert_eq!(shown, expected.map(|pair| pair.map(Path::new)));
    }
}
