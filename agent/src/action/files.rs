//! Files of actions as they lie on the disk: who may have written them, and what they say.
//!
//! A file counts only if nobody but root (or the agent's own user, while it is bound to loopback) can have written it or
//! put it there: the file itself, the program that it names, and every folder above both.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use watchfire_agent_core::action::{Action, parse};
use watchfire_agent_core::order::Catalogue;
use watchfire_shared::document::{Mistake, Position};
use watchfire_shared::limits::{MAX_ACTIONS, MAX_CONFIG_FILE_BYTES};
use watchfire_shell::files;

const START: Position = Position { line: 1, column: 1 };
/// The bits that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;
/// In a folder with this bit, only a file's owner may rename or remove it.
const STICKY: u32 = 0o1000;

/// Whose files are believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trust {
    /// Besides root, this user.
    pub(crate) own_user: Option<u32>,
}

impl Trust {
    /// Root, and the user of this process if `own` says so.
    pub(crate) fn new(own: bool) -> Self {
        Self { own_user: own.then(|| rustix::process::geteuid().as_raw()) }
    }

    fn owns(self, uid: u32) -> bool {
        uid == 0 || self.own_user == Some(uid)
    }

    /// Checks a path and every folder above it, links followed.
    ///
    /// # Errors
    /// The first thing that somebody else could have changed.
    fn path(self, path: &Path) -> Result<(), String> {
        let real = std::fs::canonicalize(path).map_err(|error| format!("cannot find {}: {error}", path.display()))?;
        for (above, part) in real.ancestors().enumerate() {
            let metadata =
                std::fs::metadata(part).map_err(|error| format!("cannot look at {}: {error}", part.display()))?;
            let (name, mode) = (part.display(), metadata.mode());
            if !self.owns(metadata.uid()) {
                return Err(format!("{name} is owned by user {}, who is neither root nor trusted", metadata.uid()));
            }
            let sticky_folder = above > 0 && mode & STICKY != 0;
            if mode & OTHERS_WRITE != 0 && !sticky_folder {
                return Err(format!("{name} is writable by others (mode {:04o})", mode & 0o7777));
            }
        }
        Ok(())
    }

    /// Checks a program that is to be executed.
    ///
    /// # Errors
    /// If it is none, or somebody else could have changed it.
    pub(crate) fn program(self, path: &Path) -> Result<(), String> {
        self.path(path)?;
        let metadata =
            std::fs::metadata(path).map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
        if metadata.is_file() && metadata.mode() & 0o111 != 0 {
            return Ok(());
        }
        Err(format!("{} is no program", path.display()))
    }
}

/// Reads every file of a folder. A file with a mistake gives none of its actions, and the mistakes; a folder that does
/// not exist gives nothing.
pub(crate) fn load(folder: &Path, trust: Trust) -> (Catalogue, Vec<Mistake>) {
    let mut catalogue = Catalogue::default();
    let mut mistakes = Vec::new();
    let found = files::expand(&folder.join("*.toml").to_string_lossy()).unwrap_or_else(|error| {
        mistakes.push(whole(folder, error.to_string()));
        Vec::new()
    });
    for path in found {
        match read(&path, trust).and_then(|actions| fresh(&path, actions, &catalogue)) {
            Ok(actions) => catalogue.actions.extend(actions.into_iter().map(|action| (action.name.clone(), action))),
            Err(found) => mistakes.extend(found),
        }
    }
    catalogue.problems = mistakes.iter().map(ToString::to_string).collect();
    (catalogue, mistakes)
}

/// Refuses actions whose names are taken, and too many of them.
fn fresh(path: &Path, actions: Vec<Action>, catalogue: &Catalogue) -> Result<Vec<Action>, Vec<Mistake>> {
    let mut mistakes: Vec<Mistake> = actions
        .iter()
        .filter(|action| catalogue.actions.contains_key(&action.name))
        .map(|action| at(path, action.exec_at, format!("another file has an action `{}` already", action.name)))
        .collect();
    if catalogue.actions.len() + actions.len() > MAX_ACTIONS {
        mistakes.push(whole(path, format!("with this file there are more than {MAX_ACTIONS} actions")));
    }
    if mistakes.is_empty() { Ok(actions) } else { Err(mistakes) }
}

fn read(path: &Path, trust: Trust) -> Result<Vec<Action>, Vec<Mistake>> {
    let text = content(path, trust).map_err(|reason| vec![whole(path, reason)])?;
    let mut actions = parse(&path.display().to_string(), &text)?;
    let mut mistakes = Vec::new();
    for action in &mut actions {
        // What runs is what was ordered: the digest is that of everything that the file says.
        action.digest = digest(format!("{}\0{text}", action.name).as_bytes());
        let verify = action.verify.as_ref().map(|verify| watchfire_agent_core::action::program(&verify.exec));
        for program in [Some(action.program()), verify].into_iter().flatten() {
            if let Err(reason) = trust.program(Path::new(program)) {
                mistakes.push(at(path, action.exec_at, reason));
            }
        }
        if let Some(expected) = &action.sha256 {
            match sha256(Path::new(action.program())) {
                Ok(found) if found == *expected => {}
                Ok(found) => mistakes.push(at(path, action.exec_at, format!("{} hashes to {found}", action.program()))),
                Err(reason) => mistakes.push(at(path, action.exec_at, reason)),
            }
        }
    }
    if mistakes.is_empty() { Ok(actions) } else { Err(mistakes) }
}

/// The text of a file that only trusted users can have written. Checked and read is the same open file.
fn content(path: &Path, trust: Trust) -> Result<String, String> {
    let told = |error: std::io::Error| format!("cannot read it: {error}");
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(no_follow).open(path);
    let file = file.map_err(|error| match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::LOOP) => "it is a link; an action's file lies where it is looked for".to_owned(),
        _ => told(error),
    })?;
    let metadata = file.metadata().map_err(told)?;
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    trust.path(path)?;
    let same = std::fs::symlink_metadata(path).map_err(told)?;
    if (same.dev(), same.ino()) != (metadata.dev(), metadata.ino()) {
        return Err("it was replaced while it was read".to_owned());
    }
    let mut text = String::new();
    file.take(MAX_CONFIG_FILE_BYTES as u64).read_to_string(&mut text).map_err(told)?;
    Ok(text)
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// If it cannot be read.
pub(super) fn sha256(path: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut file = File::open(path).map_err(told)?;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer).map_err(told)? {
            0 => return Ok(hex(context.finish().as_ref())),
            length => context.update(&buffer[..length]),
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn at(path: &Path, at: Position, message: String) -> Mistake {
    Mistake { file: path.display().to_string(), at: Some(at), message }
}

fn whole(path: &Path, message: String) -> Mistake {
    at(path, START, message)
}

/// Where the files are and whose they may be.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Source {
    pub(crate) folder: PathBuf,
    pub(crate) trust: Trust,
}
