//! `lb check` as a user runs it: what it prints where, and how it exits.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn check(file: &Path) -> Output {
    let mut lb = Command::new(env!("CARGO_BIN_EXE_lb"));
    lb.arg("check").arg(file).output().expect("lb starts")
}

fn scratch(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).expect("a scratch file");
    path
}

#[test]
fn a_valid_file_is_summed_up() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/lb.toml");
    let output = check(&example);
    assert_eq!(output.status.code(), Some(0));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let expected = "ok: 3 services, 2 steered ports, 2 proxied ports, 6 servers, 0 certificates\n\
                    nat: up to 30720 flows at a time to each port of a server\n";
    assert_eq!(stdout, expected);
    assert!(output.stderr.is_empty());
}

#[test]
fn mistakes_are_told_on_standard_error() {
    let file = scratch("mistakes.toml", b"[node]\ninterfaces = []\nxpd = 'auto'\n");
    let output = check(&file);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8_lossy(&output.stderr);
    for part in ["mistakes.toml:2:14", "mistakes.toml:3:1", "did you mean `xdp`?"] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
    assert!(stderr.ends_with("error: 2 mistakes in the configuration\n"));
    assert!(!stderr.contains('\x1b'), "no colours into a pipe");
}

#[test]
fn a_file_that_cannot_be_read_is_another_matter() {
    let missing = check(Path::new("/nonexistent/lb.toml"));
    assert_eq!(missing.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&missing.stderr);
    assert!(stderr.starts_with("error: cannot read /nonexistent/lb.toml: No such file"));

    let binary = check(&scratch("binary.toml", b"[node]\n\xff\xfe"));
    assert_eq!(binary.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&binary.stderr);
    assert!(stderr.contains("binary.toml is not UTF-8 text from byte 7 on"), "{stderr}");
}
