//! A control group of its own for one action, where the system lets us make one: then everything that the action started
//! is killed by one write, and nothing can fork away from it (cgroup v2, `cgroup.kill`, Linux 5.14).
//!
//! It is made only below a group that was given to us: one that systemd delegated (`Delegate=yes`, which marks it with the
//! attribute `user.delegate`), or the root of a group namespace, as in a container. Elsewhere others keep the books, and
//! the walk through `/proc` has to do.

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::getxattr;

/// The attribute of a group that systemd gave away.
const DELEGATED: &CStr = c"user.delegate";

/// The group of one action. It is removed with the value; what still lives in it keeps it there.
pub(super) struct Cgroup {
    parent: PathBuf,
    path: PathBuf,
}

impl Cgroup {
    /// Makes a group below that of this process; `None` where that is not ours to do.
    pub(super) fn make() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let (parent, is_root) = own(&mounts, &fs::read_to_string("/proc/self/cgroup").ok()?)?;
        if !is_root && !is_delegated(&parent) {
            return None;
        }
        let path = parent.join(format!("action-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let group = Self { parent, path };
        group.path.join("cgroup.kill").exists().then_some(group)
    }

    /// Moves this process into the group, runs `start`, and moves it out again: what `start` started stays in it. `None`
    /// in the place of the group if this process could not leave, for then it would be killed too.
    pub(super) fn around<T>(self, start: impl FnOnce() -> T) -> (T, Option<Self>) {
        let entered = move_to(&self.path);
        let started = start();
        let group = (entered && move_to(&self.parent)).then_some(self);
        (started, group)
    }

    /// Kills everything in it.
    pub(super) fn kill(&self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
    }

    /// Whether anything lives in it.
    pub(super) fn is_populated(&self) -> bool {
        let events = fs::read_to_string(self.path.join("cgroup.events")).unwrap_or_default();
        events.lines().any(|line| line == "populated 1")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

fn move_to(group: &Path) -> bool {
    fs::write(group.join("cgroup.procs"), "0").is_ok()
}

fn is_delegated(group: &Path) -> bool {
    let mut value = [0; 8];
    getxattr(group, DELEGATED, &mut value).is_ok_and(|length| value.get(..length) == Some(b"1"))
}

/// The folder of this process' group, from `/proc/self/mounts` and `/proc/self/cgroup`, and whether it is the topmost one
/// that can be seen.
fn own(mounts: &str, groups: &str) -> Option<(PathBuf, bool)> {
    let mounted = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| at.to_owned())
    };
    let mount = mounts.lines().find_map(mounted)?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // A group outside of our namespace shows as `/../`.
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    Some((Path::new(&mount).join(path), path.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_on_every_layout() {
        let unified = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let hybrid = "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let check = |mounts: &str, groups: &str, expected: Option<(&str, bool)>| {
            assert_eq!(own(mounts, groups), expected.map(|(path, root)| (PathBuf::from(path), root)));
        };
        let service = "/sys/fs/cgroup/system.slice/watchfire-agent.service";
        check(unified, "0::/system.slice/watchfire-agent.service\n", Some((service, false)));
        check(hybrid, "8:pids:/\n0::/\n", Some(("/sys/fs/cgroup/unified/", true)));
        check(unified, "0::/../other\n", None);
        check("cgroup /sys/fs/cgroup/pids cgroup rw 0 0\n", "1:pids:/x\n", None);
        check(unified, "1:pids:/x\n", None);
    }
}
