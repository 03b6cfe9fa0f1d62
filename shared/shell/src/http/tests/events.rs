use axum::response::Response;
use watchfire_shared::limits::{MAX_EVENT_STREAMS, MAX_EVENTS_KEPT};
use watchfire_shared::time::Timestamp;

use super::*;

async fn open(world: &World, uri: &str, accept: &str) -> Response {
    // The task that notes changes gets its turn.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let request = Request::get(uri).header("accept", accept).body(Body::empty()).unwrap();
    world.router.clone().oneshot(request).await.unwrap()
}

async fn list(world: &World, uri: &str) -> (u16, Value) {
    let response = open(world, uri, "application/json").await;
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn ids(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_list_of_events_goes_on_where_it_ended() {
    let world = world();
    world.publisher.publish(vec![], vec![change(1, MemberState::Suspect)], Vec::new());
    let (_, all) = list(&world, "/v1/events").await;
    assert_eq!((ids(&all), &all["index"], &all["next_cursor"]), (vec!["7:1", "7:2"], &"7:2".into(), &Value::Null));
    assert_eq!(
        (&all["items"][1]["event"], &all["items"][1]["data"]["member"]["state"]),
        (&"member".into(), &"suspect".into())
    );
    world.journal.note(Topic::Alert, Timestamp::EPOCH, Some("node-1"), &serde_json::json!({"state": "firing"}));
    assert_eq!(ids(&list(&world, "/v1/events?since=7:1").await.1), ["7:2", "7:2.1"]);
    assert_eq!(ids(&list(&world, "/v1/events?topics=alert").await.1), ["7:2.1"]);
    assert_eq!(ids(&list(&world, "/v1/events?node=node-2").await.1), ["7:1"]);
    assert_eq!(ids(&list(&world, "/v1/events?since=1970-01-01T00:00:00Z").await.1).len(), 3);
    let (_, first) = list(&world, "/v1/events?since=7:0&limit=2").await;
    assert_eq!((ids(&first), &first["next_cursor"]), (vec!["7:1", "7:2"], &"7:2".into()));
    assert_eq!(ids(&list(&world, "/v1/events?limit=1").await.1), ["7:2.1"], "without a place, the latest");
    let (_, none) = list(&world, "/v1/events?since=7:2.1&wait=10s").await;
    assert_eq!((ids(&none), &none["index"]), (vec![], &"7:2.1".into()));
}

#[tokio::test]
async fn bad_questions_for_events_get_problems() {
    let world = world();
    let cases = [
        (
            "topics=members",
            400,
            "topics: expected one of member, condition, alert, order, maintenance, found \"members\"",
        ),
        ("topic=member", 400, "unknown parameter `topic`, did you mean `topics`?"),
        (
            "since=x",
            400,
            "since: expected the id of an event such as 7:42 or 7:42.3, found \"x\"; or a time such as 2026-01-01T00:00:00Z",
        ),
        ("limit=0", 400, "limit: expected a number from 1 to 1000, found \"0\""),
    ];
    for (query, status, detail) in cases {
        let (answered, problem) = list(&world, &format!("/v1/events?{query}")).await;
        assert_eq!((answered, &problem["detail"]), (status, &Value::from(detail)), "{query}");
    }
    let (status, gone) = list(&world, "/v1/events?since=6:3").await;
    assert_eq!((status, &gone["code"]), (410, &"index_gone".into()));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_never_reached_is_of_another_life() {
    let world = world();
    world.publisher.publish(vec![], vec![change(1, MemberState::Suspect)], Vec::new());
    for since in ["7:3", "7:2.1", "7:40.2"] {
        let (status, gone) = list(&world, &format!("/v1/events?since={since}&wait=10s")).await;
        assert_eq!((status, &gone["code"]), (410, &"index_gone".into()), "{since}");
        for accept in ["application/x-ndjson", "text/event-stream"] {
            let response = open(&world, &format!("/v1/events?since={since}"), accept).await;
            let mut body = response.into_body().into_data_stream();
            let mut told = String::new();
            while !told.contains("resync") {
                let bytes = tokio::time::timeout(std::time::Duration::from_secs(5), body.next()).await;
                told += std::str::from_utf8(&bytes.expect("it is told at once").unwrap().unwrap()).unwrap();
            }
            assert!(told.contains("7:2") && !told.contains("\"member\""), "{told}");
        }
    }
    assert_eq!(list(&world, "/v1/events?since=7:2").await.0, 200);
}

#[tokio::test]
async fn a_member_that_is_listed_no_more_is_an_event_with_its_reason() {
    let world = world();
    let mut slow = change(1, MemberState::Down);
    slow.member.conditions.push(watchfire_shared::member::Condition {
        name: watchfire_shared::member::ConditionName::Slow,
        since: Timestamp::EPOCH,
        seen_by: vec!["node-2".to_owned()],
        detail: "it answers late".to_owned(),
    });
    world.publisher.publish(vec![], vec![slow.clone()], vec![(slow, Removed::Forgotten)]);
    let (_, told) = list(&world, "/v1/events?since=7:2").await;
    assert_eq!(ids(&told), ["7:2.1", "7:3", "7:3.1"]);
    let removed = &told["items"][1];
    assert_eq!((&removed["event"], &removed["data"]["removed"]), (&"member".into(), &"forgotten".into()));
    assert_eq!(removed["data"]["member"]["name"], "node-1");
    assert_eq!(told["items"][2]["data"]["state"], "ended");
    // Whoever has read the members after it has missed nothing.
    assert_eq!(list(&world, "/v1/events?since=7:3.1").await.0, 200);
}

#[tokio::test]
async fn lines_are_events_and_a_gap_is_told() {
    let world = world();
    for _ in 0..=MAX_EVENTS_KEPT {
        world.journal.note(Topic::Order, Timestamp::EPOCH, None, &Value::Null);
    }
    let response = open(&world, "/v1/events?since=7:0&topics=order", "application/x-ndjson").await;
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let mut body = response.into_body().into_data_stream();
    let mut line = async || -> Value { serde_json::from_slice(&body.next().await.unwrap().unwrap()).unwrap() };
    assert_eq!(line().await["event"], "resync");
    world.journal.note(Topic::Order, Timestamp::EPOCH, None, &serde_json::json!({"state": "done"}));
    let order = line().await;
    assert_eq!((&order["event"], &order["data"]["state"]), (&"order".into(), &"done".into()));
}

#[tokio::test]
async fn there_are_only_so_many_streams() {
    let world = world();
    let mut open_streams = Vec::new();
    for _ in 0..MAX_EVENT_STREAMS {
        open_streams.push(open(&world, "/v1/events", "*/*").await);
    }
    assert_eq!(open_streams[0].headers()["content-type"], "text/event-stream");
    let refused = open(&world, "/v1/events", "text/event-stream").await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"5".parse().unwrap()));
    assert_eq!(list(&world, "/v1/events").await.0, 200, "a list is no stream");
    open_streams.pop();
    assert_eq!(open(&world, "/v1/events", "text/event-stream").await.status(), 200);
}

#[tokio::test]
async fn conditions_begin_and_end_as_events_of_their_own() {
    let world = world();
    let mut slow = change(1, MemberState::Alive);
    slow.previous = Some(MemberState::Alive);
    slow.member.conditions.push(watchfire_shared::member::Condition {
        name: watchfire_shared::member::ConditionName::Slow,
        since: Timestamp::EPOCH,
        seen_by: vec!["node-2".to_owned()],
        detail: "it answers late".to_owned(),
    });
    let well = change(1, MemberState::Alive);
    world.publisher.publish(vec![], vec![slow.clone(), slow, well], Vec::new());
    let (_, told) = list(&world, "/v1/events?topics=condition").await;
    let told: Vec<(&str, &str, &str)> = told["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["id"].as_str().unwrap(), &item["data"]))
        .map(|(id, data)| (id, data["condition"].as_str().unwrap(), data["state"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("7:2.1", "slow", "began"), ("7:4.1", "slow", "ended")]);
}
