use watchfire_gossip::Contact;
use watchfire_shared::member::{Member, SERVICE_HTTP};

use super::*;

fn agent(number: u64, state: MemberState, http: Option<&str>) -> Member {
    let mut agent = member(number, state);
    agent.addr = format!("10.0.0.{number}:7950").parse().unwrap();
    agent.labels.insert("app.io/zone".to_owned(), "eu-1a".to_owned());
    agent.services = http.map(|http| (SERVICE_HTTP.to_owned(), http.parse().unwrap())).into_iter().collect();
    agent
}

async fn targets(world: &World, query: &str) -> Vec<String> {
    let (status, groups) = get(world, &format!("/v1/sd/prometheus{query}")).await;
    assert_eq!(status, 200, "{groups}");
    let target = |group: &Value| group["targets"][0].as_str().unwrap().to_owned();
    groups.as_array().unwrap().iter().map(target).collect()
}

#[tokio::test]
async fn every_agent_that_can_be_reached_is_a_target_the_dead_included() {
    let world = world();
    let mut ephemeral = agent(5, MemberState::Down, Some("10.0.0.5:7951"));
    ephemeral.labels.insert("ephemeral".to_owned(), "true".to_owned());
    let mut collector = agent(6, MemberState::Alive, Some("10.0.0.6:7960"));
    collector.role = Role::Collector;
    let members = vec![
        agent(1, MemberState::Alive, Some("127.0.0.1:7951")),
        agent(2, MemberState::Down, Some("10.0.0.2:7951")),
        agent(3, MemberState::Left, Some("127.0.0.1:7951")),
        agent(4, MemberState::Alive, None),
        ephemeral,
        collector,
    ];
    world.publisher.publish(members, vec![], vec![(change(9, MemberState::Down), Removed::Expired)]);
    world.publisher.stands(Contact::Connected);
    // The first is this node itself, whose loopback is its own; the third's is out of reach.
    assert_eq!(targets(&world, "").await, ["127.0.0.1:7951", "10.0.0.2:7951"]);
    assert_eq!(targets(&world, "?role=collector").await, ["10.0.0.6:7960"]);
    assert_eq!(targets(&world, "?label=app.io/zone%3Dus").await, Vec::<String>::new());
    let (_, groups) = get(&world, "/v1/sd/prometheus").await;
    let expected = serde_json::json!({
        "__meta_watchfire_name": "node-2", "__meta_watchfire_id": "0000000000000002", "__meta_watchfire_role": "agent",
        "__meta_watchfire_state": "down", "__meta_watchfire_version": "0.1.0",
        "__meta_watchfire_gossip_address": "10.0.0.2:7950", "__meta_watchfire_label_app_io_zone": "eu-1a",
    });
    assert_eq!(groups[1]["labels"], expected);
}

#[tokio::test(start_paused = true)]
async fn in_doubt_there_is_an_error_and_no_list() {
    let world = world();
    for (contact, says) in [
        (Contact::Joining, "node-1 has just started and has not compared its view with any member"),
        (Contact::CutOff, "node-1 hears none of the members that it knows; it may be cut off"),
    ] {
        world.publisher.stands(contact);
        let (status, problem) = get(&world, "/v1/sd/prometheus").await;
        assert_eq!((status, &problem["detail"], &problem["code"]), (503, &says.into(), &"in_doubt".into()));
    }
    world.publisher.stands(Contact::Connected);
    world.publisher.publish(
        vec![agent(3, MemberState::Alive, Some("127.0.0.1:7951"))],
        vec![],
        vec![(change(9, MemberState::Down), Removed::Expired)],
    );
    let (status, problem) = get(&world, "/v1/sd/prometheus").await;
    let says = "1 agents serve /metrics on their loopback only (node-3); set [http] bind there";
    assert_eq!((status, &problem["detail"]), (503, &says.into()));
    // Nobody was ever there.
    world.publisher.publish(vec![], vec![], vec![(change(9, MemberState::Down), Removed::Expired)]);
    world.publisher.stands(Contact::Alone);
    assert_eq!(get(&world, "/v1/sd/prometheus").await.0, 503, "somebody may be about to come back");
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    assert_eq!(get(&world, "/v1/sd/prometheus").await, (200, serde_json::json!([])));
}
