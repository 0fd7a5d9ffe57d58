//! A machine of another kernel: an emulated one that runs programs of this one, and tells what they print.
//!
//! ```text
//! programs, their libraries, busybox ─► initramfs ─┐
//! Linux (Debian's, for clouds) ────────────────────┴─► qemu, emulating ─► serial console ─► a file
//! ```
//!
//! Its root is the initramfs, in memory; its one disk is NVMe, which Debian's kernel has built in. Emulated rather than
//! virtualized: it is there everywhere, and boots in two seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::Running;
use crate::initramfs::Initramfs;

const QEMU: &str = "qemu-system-x86_64";
/// Size of the guest's disk.
const DISK: u64 = 256 << 20;
/// How long a guest may live.
const LIFE: Duration = Duration::from_secs(240);
/// What the guest's disk is to its programs.
pub const DISK_IN_GUEST: &str = "/dev/nvme0n1";
const ENDED: &str = "the guest's program ended with ";

/// A machine that has not been started.
#[derive(Debug)]
pub struct Guest {
    kernel: PathBuf,
    busybox: PathBuf,
    programs: Vec<PathBuf>,
}

/// What became of it.
#[derive(Debug)]
pub struct Ended {
    /// All that was printed.
    pub console: String,
    /// Whether the program said that it went well.
    pub success: bool,
}

impl Guest {
    /// One with this machine's `programs` in its root folder.
    ///
    /// # Errors
    /// What is missing here to run one, as `needs …`.
    pub fn new(programs: impl IntoIterator<Item = PathBuf>) -> Result<Self, String> {
        if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            return Err("needs Linux on x86_64, whose programs a guest can run".into());
        }
        let in_path = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
            found.ok_or_else(|| format!("needs {name}: tests/guest gets it from Debian"))
        };
        in_path(QEMU)?;
        let kernel = kernel().ok_or("needs a kernel for a guest: tests/guest gets it from Debian")?;
        Ok(Self { kernel, busybox: in_path("busybox")?, programs: programs.into_iter().collect() })
    }

    /// Runs a shell command line in it, and waits for its end. `folder` takes its files.
    ///
    /// # Errors
    /// It does not start, or does not end.
    pub fn run(&self, command: &str, folder: &Path) -> anyhow::Result<Ended> {
        let file = |name: &str| folder.join(name);
        fs::write(file("initramfs"), self.root(command)?).context("cannot write the initramfs")?;
        fs::File::create(file("disk")).and_then(|disk| disk.set_len(DISK)).context("cannot make a disk")?;
        let mut qemu = Command::new(QEMU);
        qemu.args(["-accel", "tcg", "-smp", "2", "-m", "1536", "-nodefaults", "-no-reboot", "-display", "none"]);
        // The kernel's own words are left out, since they would fall into the middle of the program's.
        qemu.args(["-append", "console=ttyS0 loglevel=1 panic=-1 psi=1"]);
        qemu.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(file("initramfs"));
        qemu.arg("-serial").arg(format!("file:{}", file("console").display()));
        qemu.arg("-drive").arg(format!("file={},format=raw,if=none,id=disk,cache=unsafe", file("disk").display()));
        qemu.args(["-device", "nvme,drive=disk,serial=1"]);
        let ended = Running::start(qemu.stdout(Stdio::null())).and_then(|mut qemu| qemu.wait(LIFE));
        let console = fs::read(file("console")).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).replace('\r', "");
        ended.with_context(|| format!("of the guest there is only this: {console}"))?;
        let success = console.contains(&format!("{ENDED}0\n"));
        Ok(Ended { console, success })
    }

    /// The root file system: an archive.
    fn root(&self, command: &str) -> anyhow::Result<Vec<u8>> {
        let mut root = Initramfs::default();
        let mut libraries = Vec::new();
        for program in self.programs.iter().chain([&self.busybox]) {
            let name = program.file_name().context("a program has no name")?;
            root.file(&Path::new("/").join(name), &stripped(program)?);
            libraries.extend(needed(program)?);
        }
        libraries.sort();
        libraries.dedup();
        for library in libraries {
            root.file(&library, &read(&library)?);
        }
        root.file(Path::new("/init"), init(command).as_bytes());
        Ok(root.finish())
    }
}

/// The guest's first process.
fn init(command: &str) -> String {
    format!(
        "#!/busybox sh
/busybox mkdir -p /proc /sys /dev /tmp
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
/busybox mount -t devtmpfs dev /dev
/busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
/busybox ip link set lo up
echo \"Linux $(/busybox uname -r), $(/busybox cat /sys/fs/cgroup/cgroup.controllers)\"
{command}
echo \"{ENDED}$?\"
/busybox poweroff -f
"
    )
}

/// `$FOREBAY_GUEST_KERNEL`, or what `tests/guest` has got.
fn kernel() -> Option<PathBuf> {
    if let Some(told) = std::env::var_os("FOREBAY_GUEST_KERNEL") {
        return Some(told.into()).filter(|path: &PathBuf| path.is_file());
    }
    let test = std::env::current_exe().ok()?;
    let images = test.ancestors().find_map(|folder| fs::read_dir(folder.join("guest/boot")).ok())?;
    images.flatten().map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("vmlinuz"))
}

/// A program without what only a debugger reads, if there is somebody to take it out: the guest holds it in memory.
fn stripped(program: &Path) -> anyhow::Result<Vec<u8>> {
    let into = tempfile::NamedTempFile::new().context("cannot make a file")?;
    let strip = Command::new("strip").arg("-o").arg(into.path()).arg(program).stderr(Stdio::null()).status();
    read(if strip.is_ok_and(|status| status.success()) { into.path() } else { program })
}

/// The shared libraries of a program, and what loads them.
fn needed(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let told = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    if told.contains("not found") {
        bail!("a library of {} is missing: {told}", program.display());
    }
    let words = told.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(words.map(PathBuf::from).collect())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
