//! The guest's first files: busybox, the modules that the host's files need, and what to run.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::package::{Kernel, fetch};

/// Where the host's files are brought in by, and the overlay over them.
const MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];
/// What the guest says last, before its exit code.
pub(super) const VERDICT: &str = "guest-exit";

/// Lays out the host's files, writable in memory alone, and goes on inside.
const INIT: &str = r#"#!/bin/busybox sh
busybox() { /bin/busybox "$@"; }
busybox mkdir -p /proc /sys /dev /host /memory /root
busybox mount -t devtmpfs none /dev
busybox mount -t proc none /proc
busybox mount -t sysfs none /sys
for module in MODULES; do busybox insmod /modules/$module; done
busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose host /host
busybox mount -t tmpfs none /memory
busybox mkdir /memory/upper /memory/work
busybox mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work none /root
for tree in proc sys dev; do busybox mount --move /$tree /root/$tree; done
busybox cp /bin/busybox /inside /root/run/
exec /bin/busybox chroot /root /run/busybox sh /run/inside
"#;

/// Every program runs, also after one failed. The second serial line is the host's.
const INSIDE: &str = r#"export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root RUST_BACKTRACE=0
export LB_TESTS_PATIENCE=900
/run/busybox mkdir -p /lib/modules/RELEASE /dev/shm
mount --bind TREE /lib/modules/RELEASE
mount -t tmpfs none /dev/shm
mount -t bpf none /sys/fs/bpf
ip link set lo up
code=0
for program in PROGRAMS; do $program || code=1; done >/dev/ttyS1 2>&1 </dev/null
echo "VERDICT $code" >/dev/ttyS1
/run/busybox poweroff -f
"#;

/// An initrd in `directory` with which `kernel` runs `programs`.
pub(super) fn pack(kernel: &Kernel, directory: &Path, programs: &[PathBuf]) -> Result<PathBuf> {
    let tree = directory.join("initrd");
    fs::create_dir_all(tree.join("bin"))?;
    fs::create_dir_all(tree.join("modules"))?;
    let busybox = directory.join("busybox-static");
    fetch("busybox-static", &busybox)?;
    let binary = ["bin/busybox", "usr/bin/busybox"].map(|path| busybox.join(path));
    let binary = binary.iter().find(|path| path.exists()).context("no busybox in its package")?;
    fs::copy(binary, tree.join("bin/busybox"))?;
    let modules = unpack_modules(kernel, &tree.join("modules"))?;
    write(&tree.join("init"), &INIT.replace("MODULES", &modules.join(" ")))?;
    let programs: Vec<_> = programs.iter().map(|program| program.display().to_string()).collect();
    let inside = INSIDE
        .replace("RELEASE", &kernel.release)
        .replace("TREE", &kernel.modules().display().to_string())
        .replace("PROGRAMS", &programs.join(" "))
        .replace("VERDICT", VERDICT);
    write(&tree.join("inside"), &inside)?;
    let initrd = directory.join("initrd.cpio");
    archive(&tree, &modules, &initrd)?;
    Ok(initrd)
}

/// What [`MODULES`] take, in the order in which they load.
fn unpack_modules(kernel: &Kernel, into: &Path) -> Result<Vec<String>> {
    let list = fs::read_to_string(kernel.modules().join("modules.dep"))?;
    let mut found: Vec<String> = Vec::new();
    for module in MODULES {
        // Built in, where there is none.
        let Some((path, needs)) = list
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(path, _)| name(path) == module)
        else {
            continue;
        };
        for path in needs.split_whitespace().rev().chain([path]) {
            let file = format!("{}.ko", name(path));
            if !found.contains(&file) {
                decompress(&kernel.modules().join(path), &into.join(&file))?;
                found.push(file);
            }
        }
    }
    Ok(found)
}

/// Of a module, by its path.
fn name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file)
}

fn decompress(from: &Path, to: &Path) -> Result<()> {
    if from.extension().is_none_or(|extension| extension != "xz") {
        fs::copy(from, to)?;
        return Ok(());
    }
    let mut xz = Command::new("xz");
    let status = xz.args(["--decompress", "--stdout"]).arg(from).stdout(fs::File::create(to)?);
    ensure!(status.status()?.success(), "cannot decompress {}", from.display());
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

fn archive(tree: &Path, modules: &[String], initrd: &Path) -> Result<()> {
    let modules = modules.iter().map(|module| format!("modules/{module}"));
    let fixed = ["bin", "bin/busybox", "modules", "init", "inside"].map(str::to_owned);
    let names: Vec<_> = fixed.into_iter().chain(modules).collect();
    let mut cpio = Command::new("cpio");
    let mut cpio = cpio
        .args(["--create", "--format=newc", "--quiet"])
        .current_dir(tree)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(initrd)?)
        .spawn()
        .context("starting cpio")?;
    let mut list = cpio.stdin.take().context("cpio's input")?;
    list.write_all((names.join("\n") + "\n").as_bytes())?;
    drop(list);
    ensure!(cpio.wait()?.success(), "cpio failed");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_module_has_the_name_of_its_file() {
        assert_eq!(super::name("kernel/fs/9p/9p.ko.xz"), "9p");
        assert_eq!(super::name("kernel/net/9p/9pnet_virtio.ko"), "9pnet_virtio");
    }
}
