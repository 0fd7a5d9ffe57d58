//! Files that are replaced while a program runs: tokens, certificates, keys.
//!
//! Kubernetes renews a mounted file by swapping a symbolic link, other tools by a rename or by writing into it. So a
//! file counts as unchanged only if its device, inode, length and both times are the same *and* it was last looked
//! into well after it changed: a second change within one tick of the clock leaves no other trace. What is empty, half
//! there or does not parse is a fault that passes: the last good value holds until then.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of a file at most: a bundle of all public roots is 250 KiB.
const LONGEST: u64 = 1 << 20;
/// A file that changed longer ago than this shows each later change in its times.
const SETTLED: Duration = Duration::from_secs(2);
/// Times that files which change while they are read are read again.
const ATTEMPTS: usize = 3;

/// Makes a value of the files' contents, or tells what is wrong with them.
type Parse<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync>;

/// A value made of one file or of several that belong together, made again when they change.
pub struct Rotating<T> {
    paths: Vec<PathBuf>,
    parse: Parse<T>,
    /// As the files were when they were last read whole, some time after they had changed.
    settled: Option<Vec<Stamp>>,
    contents: Vec<Vec<u8>>,
    good: Option<T>,
    fault: Option<String>,
    generation: u64,
}

#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl<T> Rotating<T> {
    /// Nothing is read before the first [`Rotating::get`].
    pub fn new(
        paths: impl IntoIterator<Item = PathBuf>,
        parse: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            paths: paths.into_iter().collect(),
            parse: Box::new(parse),
            settled: None,
            contents: Vec::new(),
            good: None,
            fault: None,
            generation: 0,
        }
    }

    /// The value of the files as they are now, or the last good one. Costs a `stat` a file if nothing changed.
    ///
    /// # Errors
    /// There was no good one yet; names the file.
    pub fn get(&mut self) -> Result<&T, String> {
        self.fault = self.refresh().err();
        match (&self.good, &self.fault) {
            (Some(good), _) => Ok(good),
            (None, fault) => Err(fault.clone().unwrap_or_else(|| "no file was given".to_owned())),
        }
    }

    /// What was wrong with the files at the last [`Rotating::get`], if it gave an older value for it.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Grows whenever the value is another one.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn refresh(&mut self) -> Result<(), String> {
        let mut stamps = self.stamps()?;
        if self.settled.as_ref() == Some(&stamps) {
            return Ok(());
        }
        self.settled = None;
        for _ in 0..ATTEMPTS {
            let looked_at = SystemTime::now();
            let contents = self.paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
            let after = self.stamps()?;
            if after != stamps {
                // Swapped meanwhile: what was read may be of both.
                stamps = after;
                continue;
            }
            self.take(contents)?;
            if stamps.iter().all(|stamp| stamp.settled(looked_at)) {
                self.settled = Some(stamps);
            }
            return Ok(());
        }
        Err(format!(
            "`{}` changes while it is read",
            self.paths.first().map_or("", |path| path.to_str().unwrap_or("?"))
        ))
    }

    fn take(&mut self, contents: Vec<Vec<u8>>) -> Result<(), String> {
        if self.good.is_some() && self.contents == contents {
            return Ok(());
        }
        self.good = Some((self.parse)(&contents)?);
        self.contents = contents;
        self.generation += 1;
        Ok(())
    }

    fn stamps(&self) -> Result<Vec<Stamp>, String> {
        self.paths.iter().map(|path| Stamp::of(path)).collect()
    }
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, String> {
        let meta = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        // A pipe would hold its reader.
        if !meta.is_file() {
            return Err(format!("`{}` is no file", path.display()));
        }
        Ok(Self::from(&meta))
    }

    fn settled(&self, looked_at: SystemTime) -> bool {
        let since = |(seconds, _): (i64, i64)| {
            let then = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            looked_at.duration_since(then).unwrap_or_default()
        };
        since(self.changed) > SETTLED && since(self.modified) > SETTLED
    }
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("`{}` is longer than the {LONGEST} bytes allowed", path.display()));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(format!("`{}` is empty", path.display()));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read `{}`: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn text(paths: &[&Path]) -> Rotating<String> {
        Rotating::new(paths.iter().map(|path| path.to_path_buf()), |contents| {
            let joined = contents.concat();
            let text = String::from_utf8(joined).map_err(|_| "not text".to_owned())?;
            if text.contains("bad") { Err("it is bad".to_owned()) } else { Ok(text) }
        })
    }

    #[test]
    fn a_change_is_seen_whatever_the_times_say() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let mut rotating = text(&[&file]);
        assert!(rotating.get().unwrap_err().contains("token"));
        fs::write(&file, "one").unwrap();
        assert_eq!(rotating.get().unwrap(), "one");
        // The same length, within the same tick, and with its old time of modification.
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "two").unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        assert_eq!(rotating.get().unwrap(), "two");
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        for value in ["san", "shi", "goo"] {
            // Another inode with the same times as the one before.
            let beside = dir.path().join("beside");
            fs::write(&beside, value).unwrap();
            File::options().write(true).open(&beside).unwrap().set_modified(long_ago).unwrap();
            fs::rename(&beside, &file).unwrap();
            assert_eq!(rotating.get().unwrap(), value);
        }
        assert_eq!(rotating.generation(), 5);
    }

    #[test]
    fn a_settled_file_is_not_read_again_and_its_swap_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        // As kubelet lays it out: file -> ..data/file, ..data -> a folder of its own for each version.
        let version = |name: &str, text: &str| {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("token"), text).unwrap();
            let link = dir.path().join("..data_tmp");
            std::os::unix::fs::symlink(name, &link).unwrap();
            fs::rename(&link, dir.path().join("..data")).unwrap();
        };
        version("..1", "one");
        let file = dir.path().join("token");
        std::os::unix::fs::symlink("..data/token", &file).unwrap();
        let mut rotating = text(&[&file]);
        assert_eq!(rotating.get().unwrap(), "one");
        std::thread::sleep(SETTLED + Duration::from_millis(1100));
        rotating.get().unwrap();
        assert!(rotating.settled.is_some(), "a stat is enough from now on");
        version("..2", "two");
        assert_eq!(rotating.get().unwrap(), "two");
    }

    #[test]
    fn the_last_good_value_holds_while_files_are_away_empty_or_bad() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let mut rotating = text(&[&one, &two]);
        fs::write(&one, "a").unwrap();
        assert!(rotating.get().unwrap_err().contains("two"), "both are needed");
        fs::write(&two, "b").unwrap();
        assert_eq!(rotating.get().unwrap(), "ab");
        for fault in ["", " \n", "bad"] {
            fs::write(&two, fault).unwrap();
            assert_eq!(rotating.get().unwrap(), "ab");
            assert!(rotating.fault().is_some());
        }
        fs::remove_file(&two).unwrap();
        assert_eq!(rotating.get().unwrap(), "ab");
        fs::write(&two, "c").unwrap();
        assert_eq!(rotating.get().unwrap(), "ac");
        assert_eq!((rotating.fault(), rotating.generation()), (None, 2));
    }

    #[test]
    fn what_is_no_file_or_too_long_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(text(&[dir.path()]).get().unwrap_err().contains("is no file"));
        let long = dir.path().join("long");
        fs::write(&long, vec![b'a'; LONGEST as usize + 1]).unwrap();
        assert!(text(&[&long]).get().unwrap_err().contains("longer than"));
    }
}
