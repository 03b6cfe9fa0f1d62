//! What is asked for from outside: silences and alerts, answered when they are durable, and there after a crash.

use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Timestamp;
use watchfire_store::disk::CrashKeeps;

use super::world::{START, World, seconds};
use crate::engine::Input;
use crate::notify::query::AlertState;
use crate::notify::{Answer, PostedAlert, Silence};

fn silence(id: &str, until: Timestamp) -> Input {
    let silence = Silence {
        id: id.to_owned(),
        matchers: vec![Matcher::equal("alertname", "A")],
        starts_at: START,
        ends_at: until,
        updated_at: START,
        created_by: "me".to_owned(),
        comment: "why".to_owned(),
        annotations: Default::default(),
    };
    Input::SetSilence { silence: Box::new(silence), replaces: None }
}

fn alert(name: &str) -> Input {
    let labels = vec![("alertname".to_owned(), name.to_owned())];
    Input::PostAlerts(vec![PostedAlert { labels, ..PostedAlert::default() }])
}

fn made(id: &str) -> Answer {
    Answer::Silence(Ok(id.to_owned()))
}

/// Alerts and how they stand, as the API shows them.
fn shown(world: &World) -> Vec<(String, AlertState)> {
    let view = world.view();
    let alerts = view.notifications.alerts.iter();
    let mut shown: Vec<_> =
        alerts.map(|alert| (alert.alert.labels.value("alertname").to_owned(), alert.state)).collect();
    shown.sort_by(|one, other| one.0.cmp(&other.0));
    shown
}

fn silences(world: &World) -> Vec<String> {
    world.view().notifications.silences.iter().map(|silence| silence.id.clone()).collect()
}

#[test]
fn what_was_answered_survives_a_power_failure() {
    let mut world = World::new("groups: []");
    world.input(silence("s1", START + seconds(600.0)));
    world.input(alert("A"));
    world.input(alert("B"));
    let posted = Answer::Posted { refused: Vec::new() };
    assert_eq!(world.answers, [(made("s1"), true), (posted.clone(), true), (posted, true)]);
    let mut world = world.crash(CrashKeeps::NOTHING, START + seconds(5.0));
    assert_eq!(silences(&world), ["s1"], "it is shown at once");
    let both = [("A".to_owned(), AlertState::Suppressed), ("B".to_owned(), AlertState::Active)];
    assert_eq!(shown(&world), both);
    world.run(seconds(60.0));
    let told: Vec<_> = world.arrived.iter().map(|arrived| arrived.alerts.clone()).collect();
    assert_eq!(told, [[""; 0]; 0], "B was told before the crash, and A is silenced");
}

#[test]
fn the_picture_turns_when_a_silence_ends_and_when_an_alert_times_out() {
    let mut world = World::new("groups: []");
    world.input(silence("s1", START + seconds(60.0)));
    world.input(alert("A"));
    world.run(seconds(30.0));
    assert_eq!(shown(&world), [("A".to_owned(), AlertState::Suppressed)]);
    world.run(seconds(31.0));
    assert_eq!(shown(&world), [("A".to_owned(), AlertState::Active)]);
    // The default of resolve_timeout is five minutes.
    world.run(seconds(240.0));
    assert_eq!(shown(&world), []);
    world.run(seconds(20.0));
    let told: Vec<_> = world.arrived.iter().map(|arrived| arrived.alerts.clone()).collect();
    assert_eq!(told, [["A firing"], ["A resolved"]]);
}

#[test]
fn an_answer_says_when_the_disk_has_refused_it() {
    let mut world = World::new("groups: []");
    world.disk.fail_syncs(1);
    world.input(silence("s1", START + seconds(600.0)));
    assert_eq!(world.answers, [(made("s1"), false)]);
    world.run(seconds(5.0));
    world.input(Input::ExpireSilence { id: "s1".to_owned() });
    assert_eq!(world.answers.last(), Some(&(made("s1"), true)));
    assert_eq!(world.answers.len(), 2);
}
