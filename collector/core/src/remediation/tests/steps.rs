//! Attempts of several steps, and those that a person approves.

use super::*;

const STEPS: &str = "
remediations:
  - name: nginx
    when: { alert: NginxDown }
    mode: auto
    steps:
      - { action: restart, params: { unit: nginx.service }, wait: 2m }
      - { action: restart, params: { unit: php.service } }
      - { escalate: pager }
    guards: { cooldown: 10m }
";

fn runs(world: &World) -> Vec<(&'static str, usize)> {
    world.remediator.runs.values().map(|run| (run.state.as_str(), run.step + 1)).collect()
}

/// The attempt's states, each with its step.
fn history(world: &World) -> Vec<String> {
    let run = world.remediator.runs.values().next_back().expect("there is an attempt");
    run.history.iter().map(|change| format!("{} {}", change.step + 1, change.state.as_str())).collect()
}

fn firing(text: &str) -> World {
    let mut world = World::new(text);
    world.run(seconds(60));
    world.fire("web-1");
    world.run(seconds(1));
    world
}

#[test]
fn an_alert_that_ends_in_time_makes_the_attempt_a_success() {
    let mut world = firing(STEPS);
    world.report(world.dispatched[0].id, OrderState::Succeeded);
    world.run(seconds(60));
    assert_eq!(runs(&world), [("waiting", 1)]);
    assert!(world.case().1[0].contains("step 1 of 3: restart on web-1 succeeded; the alert may go on for 2m"));
    world.firing.clear();
    world.run(seconds(10));
    assert_eq!(runs(&world), [("succeeded", 1)]);
    world.run(seconds(3600));
    assert_eq!((world.dispatched.len(), world.escalated.len()), (1, 0));
}

#[test]
fn an_alert_that_goes_on_leads_to_the_next_step_and_then_to_a_person() {
    let mut world = firing(STEPS);
    world.report(world.dispatched[0].id, OrderState::Succeeded);
    world.run(seconds(125));
    assert_eq!(world.dispatched.len(), 2);
    assert_eq!(&*world.dispatched[1].params["unit"], "php.service");
    world.report(world.dispatched[1].id, OrderState::Failed);
    world.run(seconds(5));
    assert_eq!(runs(&world), [("escalated", 3)]);
    assert_eq!(world.escalated, [("pager".to_owned(), true)]);
    let states = ["1 ordered", "1 waiting", "2 blocked", "2 ordered", "3 escalated"];
    assert_eq!(history(&world), states);
    // The receiver hears when it is over, once.
    world.firing.clear();
    world.remediator.look_soon(world.now);
    world.run(seconds(60));
    assert_eq!(world.escalated, [("pager".to_owned(), true), ("pager".to_owned(), false)]);
    assert_eq!(world.dispatched.len(), 2);
}

#[test]
fn what_did_not_run_or_is_not_known_is_followed_by_a_person_and_by_no_action() {
    for state in [OrderState::Refused, OrderState::Interrupted] {
        let mut world = firing(STEPS);
        world.report(world.dispatched[0].id, state);
        world.run(seconds(5));
        assert_eq!((runs(&world), world.dispatched.len()), (vec![("escalated", 3)], 1));
    }
    let mut world = firing(STEPS);
    world.report(world.dispatched[0].id, OrderState::Accepted);
    world.remediator.gone(world.now, NODE);
    world.run(seconds(3600));
    assert_eq!((runs(&world), world.states(), world.dispatched.len()), (vec![("escalated", 3)], vec!["unknown"], 1));
}

#[test]
fn the_next_step_passes_the_guards_and_gives_up_when_they_last() {
    let mut world = firing(STEPS);
    world.report(world.dispatched[0].id, OrderState::Failed);
    world.silenced = true;
    world.run(seconds(300));
    assert_eq!((runs(&world), world.case().0), (vec![("blocked", 2)], "blocked"));
    assert_eq!(world.case().1, ["a silence matches the alert"]);
    world.silenced = false;
    world.run(seconds(5));
    assert_eq!(world.dispatched.len(), 2);
    let mut world = firing(STEPS);
    world.report(world.dispatched[0].id, OrderState::Failed);
    world.silenced = true;
    world.run(seconds(610));
    assert_eq!((runs(&world), world.dispatched.len()), (vec![("escalated", 3)], 1));
}

#[test]
fn an_attempt_goes_on_after_a_restart_and_keeps_its_steps() {
    let mut world = firing(STEPS);
    world.report(world.dispatched[0].id, OrderState::Succeeded);
    world.run(seconds(10));
    world.restart();
    let other = parse_text(&STEPS.replace("php.service", "other.service")).unwrap();
    world.remediator.reload(world.now, other);
    world.offer(Some((world.dispatched[0].epoch, world.dispatched[0].seq)));
    world.run(seconds(150));
    assert_eq!((world.dispatched.len(), &*world.dispatched[1].params["unit"]), (2, "php.service"));
    assert!(world.dispatched[0].epoch < world.dispatched[1].epoch);
}

#[test]
fn a_step_is_ordered_on_one_node_of_a_selector_after_the_other() {
    let text = STEPS.replace("mode: auto", "mode: auto\n    target: { role: lb }");
    let mut world = World::new(&text);
    for (id, name) in [(NodeId(0x1), "lb-1"), (NodeId(0x2), "lb-2")] {
        let mut member = Member::new(id, name, Role::Agent);
        member.labels.insert("role".to_owned(), "lb".to_owned());
        world.fleet.push(member);
        world.offer_on(id, None);
    }
    world.run(seconds(60));
    world.fire("web-1");
    world.run(seconds(10));
    assert_eq!(world.dispatched.iter().map(|order| order.target.0).collect::<Vec<_>>(), [1]);
    world.report(world.dispatched[0].id, OrderState::Succeeded);
    world.run(seconds(1));
    assert_eq!(world.dispatched.iter().map(|order| order.target.0).collect::<Vec<_>>(), [1, 2]);
    world.report(world.dispatched[1].id, OrderState::Succeeded);
    world.run(seconds(1));
    assert_eq!((runs(&world), world.dispatched.len()), (vec![("waiting", 1)], 2));
}

#[test]
fn a_person_approves_or_nothing_happens() {
    let text =
        STEPS.replace("mode: auto", "mode: approve").replace("cooldown: 10m", "cooldown: 10m, approve_within: 5m");
    let mut world = firing(&text);
    let (state, reasons) = world.case();
    assert!(state == "awaiting_approval" && reasons[0].contains("awaits approval until"), "{reasons:?}");
    let id = *world.remediator.runs.keys().next().unwrap();
    let approve = |world: &mut World, id| {
        let mut out = Vec::new();
        let answer = world.remediator.command(world.now, Command::Approve { id, by: "ann".to_owned() }, &mut out);
        world.perform(out);
        world.run(seconds(1));
        answer
    };
    assert!(matches!(approve(&mut world, OrderId(7)), Answer::Refused(Refusal::Unknown { .. })));
    assert!(matches!(approve(&mut world, id), Answer::Done { .. }));
    assert_eq!((world.dispatched.len(), world.dispatched[0].approver.as_deref()), (1, Some("ann")));
    assert!(matches!(approve(&mut world, id), Answer::Refused(Refusal::Conflict(_))));
    // The approval is for the attempt as a whole.
    world.report(world.dispatched[0].id, OrderState::Failed);
    world.run(seconds(1));
    assert_eq!(world.dispatched.len(), 2);

    let mut world = firing(&text);
    world.run(seconds(300));
    assert_eq!((runs(&world), world.case().0), (vec![("expired", 1)], "cooldown"));
    world.run(seconds(601));
    assert_eq!(runs(&world), [("expired", 1), ("awaiting_approval", 1)]);
    world.firing.clear();
    world.remediator.look_soon(world.now);
    world.run(seconds(1));
    assert_eq!((runs(&world)[1].0, world.dispatched.len()), ("cancelled", 0));
    // A guard that came up meanwhile holds for what was approved too.
    let mut world = firing(&text);
    let id = *world.remediator.runs.keys().next().unwrap();
    world.silenced = true;
    approve(&mut world, id);
    assert_eq!((world.case().1, world.dispatched.len()), (vec!["a silence matches the alert".to_owned()], 0));
}
