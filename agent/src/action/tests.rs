use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use ring::signature::{Ed25519KeyPair, KeyPair};
use watchfire_agent_core::order::Entry;
use watchfire_shared::labels::Fingerprint;
use watchfire_shared::member::NodeId;
use watchfire_shared::order::{Order, OrderId, OrderReport, OrderState, SignedOrder, signed_text};
use watchfire_shared::time::{Span, Timestamp};
use watchfire_shell::files::DataDir;

use super::*;

const GOOD: &str =
    "[action.a]\nexec = [\"/usr/bin/touch\", \"/tmp/x\"]\nkind = \"diagnose\"\nidempotent = true\ntimeout = \"5s\"\n";

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Lays out a folder with one file, changes something, and holds the mistakes against what is expected.
fn check(change: impl FnOnce(&Path, &Path), expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let actions = folder.path().join("actions.d");
    fs::create_dir(&actions).unwrap();
    fs::set_permissions(&actions, fs::Permissions::from_mode(0o755)).unwrap();
    let file = actions.join("a.toml");
    write(&file, GOOD, 0o644);
    change(&actions, &file);
    let (catalogue, mistakes) = files::load(&actions, Trust::new(true));
    let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    let expected = expected.replace("FILE", &file.display().to_string()).replace("DIR", &actions.display().to_string());
    if expected.is_empty() {
        assert_eq!((mistakes, catalogue.actions.len()), (Vec::new(), 1));
    } else {
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(&expected), "{expected}\n{mistakes:#?}");
        assert!(catalogue.actions.is_empty() && catalogue.problems == mistakes);
    }
}

#[test]
fn a_file_that_others_could_have_written_is_refused_by_name() {
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    check(|_, _| {}, "");
    check(|_, file| mode(file, 0o664), "FILE:1:1: FILE is writable by others (mode 0664)");
    check(|_, file| mode(file, 0o646), "FILE:1:1: FILE is writable by others (mode 0646)");
    check(|folder, _| mode(folder, 0o777), "FILE:1:1: DIR is writable by others (mode 0777)");
    check(|folder, _| mode(folder.parent().unwrap(), 0o775), "FILE:1:1: /tmp");
    check(
        |folder, file| {
            fs::rename(file, folder.join("real")).unwrap();
            symlink(folder.join("real"), file).unwrap();
        },
        "FILE:1:1: it is a link",
    );
    check(
        |_, file| write(file, &GOOD.replace("/usr/bin/touch", "touch"), 0o644),
        "FILE:2:9: \"touch\" is no absolute path",
    );
    check(|_, file| write(file, &format!("{GOOD}colour = 1\n"), 0o644), "FILE:6:1: unknown key `colour`");
    let interpreter = GOOD.replace("\"/usr/bin/touch\", \"/tmp/x\"", "\"/bin/sh\", \"{x}\"");
    let interpreter = format!("{interpreter}[action.a.params.x]\nenum = [\"y\"]\n");
    check(|_, file| write(file, &interpreter, 0o644), "FILE:2:9: sh runs what its arguments say");
    check(
        |_, file| write(file, &GOOD.replace("/usr/bin/touch", "/no/such/program"), 0o644),
        "FILE:2:8: cannot find /no/such/program",
    );
    check(
        |_, file| write(file, &GOOD.replace("/usr/bin/touch", "/etc/passwd"), 0o644),
        "FILE:2:8: /etc/passwd is no program",
    );
    check(
        |_, file| write(file, &format!("{GOOD}sha256 = \"{}\"\n", "0".repeat(64)), 0o644),
        "FILE:2:8: /usr/bin/touch hashes to ",
    );
    let program = |folder: &Path, file: &Path| {
        let program = folder.join("program");
        write(&program, "", 0o757);
        write(file, &GOOD.replace("/usr/bin/touch", program.to_str().unwrap()), 0o644);
    };
    check(program, "FILE:2:8: DIR/program is writable by others (mode 0757)");
}

#[test]
fn a_file_of_another_user_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    write(&file, GOOD, 0o644);
    // Root can give a file away; anybody else is not trusted where only root is.
    let trust = if rustix::process::geteuid().is_root() {
        chown(&file, Some(12_345), None).unwrap();
        Trust::new(true)
    } else {
        Trust::new(false)
    };
    let (catalogue, mistakes) = files::load(folder.path(), trust);
    assert!(catalogue.actions.is_empty());
    assert!(mistakes[0].message.contains("who is neither root nor trusted"), "{mistakes:?}");
}

#[test]
fn a_name_belongs_to_one_file_and_a_missing_folder_is_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.toml", "b.toml"] {
        write(&folder.path().join(name), GOOD, 0o644);
    }
    let (catalogue, mistakes) = files::load(folder.path(), Trust::new(true));
    assert_eq!(catalogue.actions.len(), 1);
    assert!(mistakes[0].to_string().contains("b.toml:2:8: another file has an action `a` already"), "{mistakes:?}");
    let (catalogue, mistakes) = files::load(&folder.path().join("none"), Trust::new(true));
    assert_eq!((catalogue.actions.len(), mistakes.len()), (0, 0));
}

fn order(seq: u64) -> Order {
    Order {
        id: OrderId(u128::from(seq)),
        issuer: NodeId(1),
        epoch: 1,
        seq,
        target: NodeId(2),
        boot: "b".to_owned(),
        action: "a".to_owned(),
        params: BTreeMap::new(),
        digest: String::new(),
        not_before: Timestamp::EPOCH,
        expires_at: Timestamp::EPOCH + Span::from_seconds(60),
        remediation: "r".to_owned(),
        alert: Fingerprint(3),
        approver: None,
    }
}

#[test]
fn only_what_the_pinned_key_signed_is_an_order() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let hex: String = pair.public_key().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let key: Key = format!("{hex}\n").parse().unwrap();
    let bytes = order(1).to_bytes();
    let sign = |text: &[u8]| pair.sign(text).as_ref().to_vec();
    let good = SignedOrder { signature: sign(&signed_text(&bytes)), order: bytes.clone() };
    assert_eq!(key.verify(&good), Ok(order(1)));
    let bad = Err("it is not signed with the pinned key".to_owned());
    assert_eq!(
        key.verify(&SignedOrder { signature: sign(&bytes), order: bytes }),
        bad,
        "a signature for another purpose"
    );
    assert_eq!(key.verify(&SignedOrder { order: order(2).to_bytes(), ..good.clone() }), bad);
    assert_eq!(key.verify(&SignedOrder { signature: Vec::new(), ..good.clone() }), bad);
    let other: Key = "00".repeat(32).parse().unwrap();
    assert_eq!(other.verify(&good), bad);
    for text in ["", "xyz", &"0g".repeat(32), &"0".repeat(63), &"é".repeat(32)] {
        assert!(text.parse::<Key>().is_err(), "{text}");
    }
}

#[test]
fn the_journal_gives_back_what_was_synced_and_refuses_to_guess() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(&folder.path().join("data")).unwrap();
    let entry = |seq| Entry {
        order: order(seq),
        accepted_at: Some(Timestamp::EPOCH),
        report: OrderReport::new(OrderId(u128::from(seq)), OrderState::Accepted, Timestamp::EPOCH, "line\nbreak"),
        seen: false,
    };
    let (mut journal, found) = Journal::open(&data).unwrap();
    assert!(found.is_empty());
    journal.append(&entry(1)).unwrap();
    journal.append(&entry(2)).unwrap();
    let path = data.join("orders.journal");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A crash tears the third.
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole[..], &whole[..50]].concat()).unwrap();
    let (mut journal, found) = Journal::open(&data).unwrap();
    assert_eq!(found, [entry(1), entry(2)]);
    journal.append(&entry(3)).unwrap();
    journal.rewrite(&[entry(2), entry(3)]).unwrap();
    journal.append(&entry(4)).unwrap();
    assert_eq!(Journal::open(&data).unwrap().1, [entry(2), entry(3), entry(4)]);
    // Damage in the middle may hide that something ran.
    let mut text = fs::read(&path).unwrap();
    text[3] = b'#';
    fs::write(&path, text).unwrap();
    let error = Journal::open(&data).unwrap_err();
    assert!(error.contains("orders.journal:1: "), "{error}");
}
