//! Scripts in virtual time, and the crash property.

mod crash;

mod world;

use world::World;

/// Runs a script and holds the trace of what receivers got against its `>` lines.
///
/// A script begins with configurations (`=== name`, then YAML, up to `=== script`). Each line of the script is a time and a
/// command (see [`World::command`]); a line `> time text` is what happened by then.
fn check(name: &str, script: &str) {
    let mut parts = script.split("=== ").skip(1).map(|part| part.split_once('\n').unwrap_or((part, "")));
    let mut configs = Vec::new();
    let lines = loop {
        let (title, body) = parts.next().unwrap_or_else(|| panic!("{name}: no `=== script`"));
        if title.trim() == "script" {
            break body;
        }
        configs.push((title.trim().to_owned(), world::config(body)));
    };
    let mut world = World::new(configs);
    let mut expected = Vec::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('>') {
            Some(event) => expected.push(event.trim().to_owned()),
            None => world.command(line),
        }
    }
    assert!(!expected.is_empty(), "{name}: the script expects nothing");
    assert_eq!(world.trace.join("\n"), expected.join("\n"), "{name}");
}

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            check(stringify!($name), include_str!(concat!("../../testdata/notify/", stringify!($name), ".txt")));
        }
    )*};
}

scripts!(
    groups_wait_and_repeat,
    routes_choose_receivers,
    resolved_alerts_are_told,
    inhibited_alerts_are_quiet,
    silences_hold_alerts_back,
    quiet_times_hold_alerts_back,
    failures_are_retried,
    a_slow_receiver_delays_no_other,
    crashes_lose_nothing,
    a_reload_tells_nothing_twice,
    alerts_of_vanished_rules_resolve,
);

#[test]
fn the_webhooks_message_is_alertmanagers() {
    let mut world = World::new(vec![(
        "main".to_owned(),
        world::config(
            "route: {receiver: web.hook, group_by: [alertname], group_wait: 0s, routes: [{matchers: ['severity=\"page\"'], receiver: web.hook}]}
receivers: [{name: web.hook, webhook_configs: [{url: 'http://127.0.0.1/', max_alerts: 2}]}]",
        ),
    )]);
    world.command("0s fire alertname=A severity=page instance=1 annotation:summary=down annotation:a=1");
    world.command("0s fire alertname=A severity=page instance=2 annotation:summary=down annotation:a=2");
    world.command("0s fire alertname=A severity=page instance=3");
    world.command("1s nothing");
    world.command("250500ms resolve alertname=A severity=page instance=1");
    world.command("301s nothing");
    let golden = include_str!("../../testdata/notify/webhook.json");
    assert_eq!(world.bodies.join("\n"), golden.trim_end());
}
