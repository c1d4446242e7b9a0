//! A file that hangs: a file system of one file, by the kernel's FUSE, which this process answers. Who opens the file waits
//! until it is let go; everything else is answered at once. It needs root and `/dev/fuse`. Source: Linux
//! `include/uapi/linux/fuse.h`, protocol 7.31.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const ROOT: u64 = 1;
const FILE: u64 = 2;
/// The kernel wants room for a whole request.
const ROOM: usize = 64 << 10;
/// A request's head, and an answer's.
const ASKED: usize = 40;
const ANSWERED: usize = 16;

const ENOENT: i32 = 2;
const EINTR: i32 = 4;
const ENOSYS: i32 = 38;

/// The file system, mounted; gone when it is dropped. Drop it before what reads from it: that cannot be killed while it
/// waits.
#[derive(Debug)]
pub struct SlowFile {
    dir: PathBuf,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    device: File,
    name: String,
    text: String,
    /// When it was last given a text, in seconds since 1970.
    written: u64,
    hangs: bool,
    /// The requests that are not answered yet.
    waiting: Vec<u64>,
}

impl SlowFile {
    /// Mounts it on the directory `dir`, which is made, with a file of this name and text.
    ///
    /// # Errors
    /// Why this machine cannot.
    pub fn mount(dir: &Path, name: &str, text: &str) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.map_err(|error| format!("/dev/fuse: {error}"))?;
        let copy = || device.try_clone().map_err(|error| error.to_string());
        // The device is the standard input of `mount`: descriptor 0.
        let mut mount = Command::new("mount");
        mount.args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other", "none"]);
        let done = mount.arg(dir).stdin(Stdio::from(copy()?)).output().map_err(|error| error.to_string())?;
        if !done.status.success() {
            return Err(format!("mount -t fuse: {}", String::from_utf8_lossy(&done.stderr).trim()));
        }
        let requests = copy()?;
        let (name, text) = (name.to_owned(), text.to_owned());
        let shared = Shared { device, name, text, written: now(), hangs: false, waiting: Vec::new() };
        let shared = Arc::new(Mutex::new(shared));
        let of = Arc::clone(&shared);
        // It ends when the file system is not mounted any more.
        std::thread::spawn(move || serve(requests, &of));
        Ok(Self { dir: dir.to_owned(), shared })
    }

    /// From now on whoever opens the file waits.
    pub fn hang(&self) {
        lock(&self.shared).hangs = true;
    }

    /// How many wait.
    pub fn held(&self) -> usize {
        lock(&self.shared).waiting.len()
    }

    /// Gives the file another text. Nobody is told: no notification comes of what changes behind a mount.
    pub fn set(&self, text: &str) {
        let mut shared = lock(&self.shared);
        text.clone_into(&mut shared.text);
        shared.written = now();
    }

    /// Lets everybody go on.
    pub fn free(&self) {
        let mut shared = lock(&self.shared);
        shared.hangs = false;
        for request in std::mem::take(&mut shared.waiting) {
            // Who has gone away meanwhile wants no answer.
            drop(shared.answer(request, 0, &opened()));
        }
    }
}

impl Drop for SlowFile {
    fn drop(&mut self) {
        self.free();
        drop(Command::new("umount").arg("-l").arg(&self.dir).status());
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut requests: File, shared: &Mutex<Shared>) {
    let mut request = vec![0; ROOM];
    loop {
        match requests.read(&mut request) {
            Ok(read) if read >= ASKED => drop(lock(shared).take(&request[..read])),
            // One that was withdrawn before it was read.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Interrupted) => {}
            _ => return,
        }
    }
}

impl Shared {
    fn take(&mut self, request: &[u8]) -> io::Result<()> {
        let (asked, id, node) = (u32_at(request, 4), u64_at(request, 8), u64_at(request, 16));
        let body = &request[ASKED..];
        match asked {
            // FORGET, BATCH_FORGET: nobody waits for an answer.
            2 | 42 => Ok(()),
            // INTERRUPT: who waits is to be killed.
            36 => {
                let killed = u64_at(body, 0);
                match self.waiting.iter().position(|waiting| *waiting == killed) {
                    Some(at) => {
                        self.waiting.swap_remove(at);
                        self.answer(killed, EINTR, &[])
                    }
                    None => Ok(()),
                }
            }
            // INIT
            26 => {
                let mut greeting = [7_u32, 31, 0, 0].map(u32::to_ne_bytes).concat();
                greeting.extend([0; 4]);
                greeting.extend(4096_u32.to_ne_bytes());
                greeting.resize(64, 0);
                self.answer(id, 0, &greeting)
            }
            // LOOKUP
            1 if node == ROOT && body.strip_suffix(&[0]) == Some(self.name.as_bytes()) => {
                let mut entry = [FILE, 0, 0, 0, 0].map(u64::to_ne_bytes).concat();
                entry.extend(self.about(FILE));
                self.answer(id, 0, &entry)
            }
            1 => self.answer(id, ENOENT, &[]),
            // GETATTR
            3 => {
                let about = [vec![0; 16], self.about(node)].concat();
                self.answer(id, 0, &about)
            }
            // OPEN
            14 if self.hangs => {
                self.waiting.push(id);
                Ok(())
            }
            // OPEN, OPENDIR
            14 | 27 => self.answer(id, 0, &opened()),
            // READ
            15 => {
                let part = part(self.text.as_bytes(), body);
                self.answer(id, 0, &part)
            }
            // READDIR
            28 => {
                let mut listed = [FILE, 1].map(u64::to_ne_bytes).concat();
                listed.extend(u32::try_from(self.name.len()).unwrap_or_default().to_ne_bytes());
                listed.extend(8_u32.to_ne_bytes());
                listed.extend(self.name.bytes());
                listed.resize(listed.len().next_multiple_of(8), 0);
                let is_told = u64_at(body, 8) > 0;
                self.answer(id, 0, if is_told { &[] } else { &listed })
            }
            // RELEASE, FLUSH, RELEASEDIR
            18 | 25 | 29 => self.answer(id, 0, &[]),
            _ => self.answer(id, ENOSYS, &[]),
        }
    }

    fn answer(&mut self, id: u64, error: i32, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(ANSWERED + body.len()).unwrap_or_default();
        let head = [&length.to_ne_bytes()[..], &(-error).to_ne_bytes(), &id.to_ne_bytes()].concat();
        // Whole, in one call.
        self.device.write_all(&[&head, body].concat())
    }

    /// `struct fuse_attr`.
    fn about(&self, node: u64) -> Vec<u8> {
        let (mode, links, size) = if node == ROOT { (0o40_755_u32, 2_u32, 0) } else { (0o100_644, 1, self.text.len()) };
        let time = self.written;
        let mut about = [node, size as u64, 0, time, time, time].map(u64::to_ne_bytes).concat();
        about.extend([0, 0, 0, mode, links, 0, 0, 0, 4096, 0].map(u32::to_ne_bytes).concat());
        about
    }
}

/// The seconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| since.as_secs())
}

/// `struct fuse_open_out`, with `FOPEN_DIRECT_IO`: nothing is cached, so each reading asks anew.
fn opened() -> Vec<u8> {
    [vec![0; 8], 1_u32.to_ne_bytes().to_vec(), vec![0; 4]].concat()
}

/// The part that a `struct fuse_read_in` asks for.
fn part(text: &[u8], body: &[u8]) -> Vec<u8> {
    let from = usize::try_from(u64_at(body, 8)).unwrap_or(usize::MAX).min(text.len());
    let most = usize::try_from(u32_at(body, 16)).unwrap_or_default();
    text[from..].iter().take(most).copied().collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].try_into().map(u32::from_ne_bytes).unwrap_or_default()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].try_into().map(u64::from_ne_bytes).unwrap_or_default()
}
