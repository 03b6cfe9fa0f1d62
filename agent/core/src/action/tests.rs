use std::collections::BTreeMap;

use super::{fill, parse};

const GOOD: &str = r#"
[action.restart-service]
exec = ["/usr/bin/systemctl", "restart", "--", "{unit}"]
kind = "restart"
idempotent = true
timeout = "60s"
verify = { exec = ["/usr/bin/systemctl", "is-active", "{unit}"], retries = 5, interval = "3s", deadline = "45s" }
max_per_hour = 3
cooldown = "5m"
[action.restart-service.params.unit]
pattern = "[a-z0-9@._-]{1,64}"
"#;

fn given(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("unit".to_owned(), value.to_owned())])
}

#[test]
fn an_action_gives_exactly_the_words_of_its_file() {
    let actions = parse("a.toml", GOOD).unwrap();
    let [action] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(action.check(&given("nginx.service")), Ok(()));
    let argv = fill(&action.exec, &given("nginx.service"));
    assert_eq!(argv, ["/usr/bin/systemctl", "restart", "--", "nginx.service"]);
    assert_eq!((action.longest().as_seconds(), action.max_per_hour), (105.0, 3));
    assert_eq!(action.offer().params, ["unit"]);
}

#[test]
fn values_that_a_pattern_did_not_mean_are_refused() {
    let action = parse("a.toml", GOOD).unwrap().remove(0);
    let long = "a".repeat(300);
    for bad in ["", "a b", "nginx;reboot", "nginx\nreboot", "nginx\0", "--now", "-x", "ngïnx", "NGINX", "../x", &long]
    {
        assert!(action.check(&given(bad)).is_err(), "{bad:?}");
    }
    assert!(action.check(&BTreeMap::new()).unwrap_err().contains("missing"));
    let mut more = given("nginx.service");
    more.insert("user".to_owned(), "root".to_owned());
    assert!(action.check(&more).unwrap_err().contains("has no parameter \"user\""));
}

/// Holds the mistakes of one action against what is expected, as `line:column: text`.
fn check(body: &str, expected: &[&str]) {
    let text = format!("[action.a]\nkind = \"restart\"\nidempotent = true\n{body}\n");
    let mistakes = parse("a.toml", &text).err().unwrap_or_default();
    let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    let found = mistakes.len() == expected.len()
        && mistakes.iter().zip(expected).all(|(own, part)| own.contains(&format!("a.toml:{part}")));
    assert!(found, "{body}\nexpected {expected:#?}\nfound {mistakes:#?}");
}

#[test]
fn bad_files_are_refused_by_place_and_name() {
    let timeout = "timeout = \"5s\"";
    let with = |rest: &str| format!("{timeout}\n{rest}");
    check(&with("exec = [\"/bin/true\"]"), &[]);
    check("exec = [\"/bin/true\"]", &["1:1: the key `timeout` is missing"]);
    check("timeout = \"16m\"\nexec = [\"/bin/true\"]", &["4:11: 16m is not above 0s and at most 15m"]);
    check(&with("exec = [\"bin/true\"]"), &["5:9: \"bin/true\" is no absolute path"]);
    check(&with("exec = [\"/usr/../bin/true\"]"), &["5:9: \"/usr/../bin/true\" is no absolute path"]);
    check(&with("exec = []"), &["5:8: a command has 1 to 64 words"]);
    check(&with("exec = \"/bin/true\""), &["5:8: expected a list"]);
    check(&with("exec = [\"/bin/true\"]\ntimeoutt = 3"), &["6:1: unknown key `timeoutt`, did you mean `timeout`?"]);
    check(&with("exec = [\"/bin/true\"]\nuser = \"root\""), &["6:8: actions run as the agent's own user"]);
    check(&with("exec = [\"/bin/true\", \"{unit}\"]"), &["5:22: there is no parameter `unit`"]);
    let param = "[action.a.params.unit]\nenum = [\"x\"]";
    check(&with(&format!("exec = [\"/bin/true\", \"{{unit}}\"]\n{param}")), &[]);
    check(
        &with(&format!("exec = [\"/bin/true\", \"--unit={{unit}}\"]\n{param}")),
        &["1:9: the parameter `unit` is used by no argument", "5:22: `{unit}` has to be a whole argument"],
    );
    for interpreter in ["/bin/sh", "/usr/bin/python3.12", "/usr/bin/env", "/usr/bin/ssh"] {
        let exec = format!("exec = [{interpreter:?}, \"{{unit}}\"]");
        check(&with(&format!("{exec}\n{param}")), &["5:9: "]);
        check(&with(&format!("{exec}\nallow_interpreter = true\n{param}")), &[]);
    }
    check(&with("exec = [\"/bin/sh\", \"-c\", \"true\"]"), &[]);
    check(
        &with("exec = [\"/bin/true\", \"{unit}\"]\n[action.a.params.unit]"),
        &["6:18: the parameter `unit` has neither `pattern` nor `enum`"],
    );
    check(
        &with("exec = [\"/bin/true\"]\nverify = { exec = [\"true\"] }"),
        &["6:10: the key `deadline` is missing", "6:20: \"true\" is no absolute path"],
    );
    check(&with("exec = [\"/bin/true\"]\nsha256 = \"abc\""), &["6:10: expected the 64 hexadecimal digits"]);
    let mistakes = parse("a.toml", "[action.\"../x\"]\n[actions.b]\n").unwrap_err();
    let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert!(mistakes.iter().any(|own| own.starts_with("a.toml:1:9: \"../x\" is no name")), "{mistakes:?}");
    assert!(mistakes.iter().any(|own| own.contains("unknown key `actions`, did you mean `action`?")), "{mistakes:?}");
}
