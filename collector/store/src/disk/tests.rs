use std::io::ErrorKind;

use super::*;

/// What both kinds of disk promise alike.
fn check(disk: &impl Disk) {
    assert_eq!(disk.list("folder").unwrap(), Vec::<String>::new());
    disk.create_folder("folder").unwrap();
    disk.create_folder("folder").unwrap();
    let file = disk.create("folder/b").unwrap();
    file.write_at(0, b"hello").unwrap();
    file.write_at(7, b"!").unwrap();
    assert_eq!((file.length().unwrap(), read_all(disk, "folder/b").unwrap()), (8, b"hello\0\0!".to_vec()));
    file.set_length(4).unwrap();
    file.set_length(5).unwrap();
    file.sync().unwrap();
    disk.create("folder/a").unwrap();
    disk.sync_folder("folder").unwrap();
    assert_eq!(disk.list("folder").unwrap(), ["a", "b"]);
    assert_eq!(disk.create("folder/a").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.open("folder/c").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.remove("folder/c").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.rename("folder/c", "folder/a").unwrap_err().kind(), ErrorKind::NotFound);
    disk.rename("folder/b", "folder/a").unwrap();
    assert_eq!(disk.list("folder").unwrap(), ["a"]);
    assert_eq!(read_all(disk, "folder/a").unwrap(), b"hell\0");
    let end = disk.open("folder/a").unwrap().read_at(3, &mut [0; 3]).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
    disk.remove("folder/a").unwrap();
    assert_eq!(disk.list("folder").unwrap(), Vec::<String>::new());
    assert!(disk.free_bytes().unwrap() > 0);
}

#[test]
fn a_simulated_disk_behaves_as_a_disk() {
    check(&SimDisk::new());
}

#[test]
fn a_real_disk_behaves_as_a_disk_and_belongs_to_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("made");
    let disk = RealDisk::open(&root).unwrap();
    check(&disk);
    let error = RealDisk::open(&root).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(error.to_string().contains("made: in use by another process"), "{error}");
    drop(disk);
    RealDisk::open(&root).unwrap();
    assert!(RealDisk::open(root.join("LOCK/below")).unwrap_err().to_string().contains("LOCK/below"));
}

#[test]
fn a_crash_forgets_what_was_not_synced() {
    let disk = SimDisk::new();
    let file = disk.create("a").unwrap();
    file.write_at(0, b"one").unwrap();
    file.sync().unwrap();
    let nameless = disk.fork();
    nameless.crash(CrashKeeps::NOTHING);
    assert_eq!(nameless.content("a"), None, "the name was not synced");

    disk.sync_folder("").unwrap();
    file.write_at(3, b"two").unwrap();
    file.write_at(0, b"O").unwrap();
    assert_eq!(disk.unsynced_changes(), 2);
    let after = |keeps: CrashKeeps| {
        let disk = disk.fork();
        disk.crash(keeps);
        String::from_utf8(disk.content("a").unwrap()).unwrap()
    };
    assert_eq!(after(CrashKeeps::NOTHING), "one");
    assert_eq!(after(CrashKeeps { changes: 0, bytes: 2 }), "onetw");
    assert_eq!(after(CrashKeeps { changes: 1, bytes: 0 }), "onetwo");
    assert_eq!(after(CrashKeeps::ALL), "Onetwo");
    disk.crash(CrashKeeps::NOTHING);
    assert!(file.sync().is_err(), "a file from before a crash is dead");
    assert_eq!(disk.unsynced_changes(), 0);
}

#[test]
fn a_simulated_disk_fails_as_it_is_told() {
    let disk = SimDisk::new();
    let file = disk.create("a").unwrap();
    disk.set_capacity(Some(4));
    assert!(is_full(&file.write_at(0, b"hello").unwrap_err()));
    assert_eq!(disk.content("a").unwrap(), b"hell", "what fits is written");
    assert!(is_full(&file.set_length(5).unwrap_err()));
    file.write_at(0, b"full").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 0);
    disk.fail_syncs(1);
    assert!(file.sync().is_err() && file.sync().is_ok());
    disk.power_off_in(1);
    file.write_at(0, b"F").unwrap();
    assert!(file.sync().is_err() && disk.create("b").is_err() && disk.remove("a").is_err());
}
