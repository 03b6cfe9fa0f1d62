mod discovery;

mod events;

use axum::body::Body;
use axum::http::Request;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use watchfire_gossip::Forgotten;
use watchfire_shared::member::{MemberState, NodeId, Role};
use watchfire_shared::time::Timestamp;

use super::*;
use crate::journal::follow_members;
use crate::membership::tests::{change, member, started};
use crate::membership::{Index, Removed};

struct World {
    publisher: crate::membership::Publisher,
    journal: Journal,
    router: Router,
    _requests: tokio::sync::mpsc::Receiver<crate::membership::Request>,
}

fn world() -> World {
    let (publisher, handle, requests) = started();
    let mut collector = member(3, MemberState::Alive);
    collector.role = Role::Collector;
    collector.labels.insert("zone".to_owned(), "eu-1a".to_owned());
    let members = vec![member(2, MemberState::Down), collector, member(1, MemberState::Alive)];
    publisher.publish(members, vec![change(2, MemberState::Down)], Vec::new());
    let probes = probe_routes(|| Some("still starting".to_owned()));
    let journal = Journal::new(Index { epoch: 7, counter: 0 });
    tokio::spawn(follow_members(handle.clone(), journal.clone(), CancellationToken::new()));
    let members = member_routes(handle.clone(), journal.clone(), &Topic::ALL, None, Clock::start());
    let members = members.merge(discovery_routes(handle, |view| Ok(view.members.clone())));
    let router = bounded(members.merge(probes).fallback(not_found));
    World { publisher, journal, router, _requests: requests }
}

async fn get(world: &World, uri: &str) -> (u16, Value) {
    let request = Request::get(uri).body(Body::empty()).unwrap();
    let response = world.router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn members_are_listed_filtered_and_counted() {
    let world = world();
    let (status, all) = get(&world, "/v1/members").await;
    assert_eq!((status, names(&all)), (200, vec!["node-1", "node-2", "node-3"]));
    assert_eq!((&all["index"], &all["next_cursor"]), (&Value::from("7:1"), &Value::Null));
    assert_eq!(
        (&all["view"]["node"], &all["view"]["alive"], &all["view"]["down"]),
        (&"node-1".into(), &2.into(), &1.into())
    );
    assert_eq!(all["items"][0]["id"], "0000000000000001");
    assert_eq!(all["items"][0]["since"], "2026-01-01T00:00:00Z");

    assert_eq!(names(&get(&world, "/v1/members?state=down").await.1), ["node-2"]);
    assert_eq!(names(&get(&world, "/v1/members?role=collector&state=alive").await.1), ["node-3"]);
    for (query, expected) in [
        ("state=down,alive&state=suspect", vec!["node-1", "node-2", "node-3"]),
        ("name=node-1&name=node-3", vec!["node-1", "node-3"]),
        ("label=zone%3Deu-1a", vec!["node-3"]),
        ("label=zone%3D&state=alive", vec!["node-1"]),
        ("filter=state!%3Dalive", vec!["node-2"]),
        ("filter=labels.zone%3D~%22eu-.*%22,role%3Dcollector", vec!["node-3"]),
        ("filter=state%3Dalive&filter=name%3Dnode-1", vec!["node-1"]),
    ] {
        assert_eq!(names(&get(&world, &format!("/v1/members?{query}")).await.1), expected, "{query}");
    }
    let (_, some) = get(&world, "/v1/members?fields=name,labels.zone&state=alive").await;
    let expected = serde_json::json!([
        {"name": "node-1", "labels": {"zone": null}}, {"name": "node-3", "labels": {"zone": "eu-1a"}}
    ]);
    assert_eq!(some["items"], expected);
    assert_eq!(get(&world, "/v1/members/node-2").await.1["state"], "down");
    assert_eq!(get(&world, "/v1/members/0000000000000002").await.1["name"], "node-2");
}

#[tokio::test]
async fn a_node_without_a_registry_says_who_has_the_other_views() {
    let world = world();
    let (status, problem) = get(&world, "/v1/members?view=collector").await;
    assert_eq!((status, &problem["code"]), (503, &"no_collector".into()));
    let mut collector = member(3, MemberState::Alive);
    collector.role = Role::Collector;
    collector.services.insert("http".to_owned(), "10.0.0.3:7960".parse().unwrap());
    world.publisher.publish(vec![collector], vec![], vec![(change(9, MemberState::Down), Removed::Expired)]);
    let request = Request::get("/v1/members?view=merged&state=down").body(Body::empty()).unwrap();
    let answer = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()["location"], "http://10.0.0.3:7960/v1/members?view=merged&state=down");
    assert_eq!(get(&world, "/v1/members?view=local").await.1["view"]["kind"], "local");
}

#[tokio::test]
async fn pages_cover_the_list_without_overlap() {
    let world = world();
    let mut seen = Vec::new();
    let mut uri = "/v1/members?limit=2".to_owned();
    loop {
        let (_, page) = get(&world, &uri).await;
        seen.extend(names(&page).into_iter().map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        uri = format!("/v1/members?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["node-1", "node-2", "node-3"]);
}

#[tokio::test]
async fn who_is_forgotten_is_shown_to_those_who_ask_for_it() {
    let world = world();
    assert_eq!(names(&get(&world, "/v1/members?state=forgotten").await.1), [""; 0]);
    let gone = Forgotten {
        id: NodeId(9),
        generation: 1,
        addr: "127.0.0.1:9".parse().unwrap(),
        name: "node-9".to_owned(),
        at: Timestamp::EPOCH,
    };
    world.publisher.forgotten(vec![gone]);
    let (_, list) = get(&world, "/v1/members?state=forgotten&filter=name=node-9").await;
    let expected =
        json!({"id": "0000000000000009", "name": "node-9", "state": "forgotten", "since": "1970-01-01T00:00:00Z"});
    assert_eq!((&list["items"], &list["view"]["alive"]), (&json!([expected]), &2.into()));
    assert_eq!(names(&get(&world, "/v1/members").await.1), ["node-1", "node-2", "node-3"]);
    let (status, problem) = get(&world, "/v1/members/node-9").await;
    let detail = "node-9 is forgotten since 1970-01-01T00:00:00Z; it comes back when it starts again";
    assert_eq!((status, &problem["code"], &problem["detail"]), (404, &"forgotten".into(), &detail.into()));
}

#[tokio::test]
async fn an_id_is_nobody_elses_whatever_somebody_is_called() {
    let world = world();
    let mut called = member(1, MemberState::Alive);
    called.name = NodeId(2).to_string();
    world.publisher.publish(vec![called, member(2, MemberState::Down)], Vec::new(), Vec::new());
    assert_eq!(get(&world, "/v1/members/0000000000000002").await.1["name"], "node-2");
}

#[tokio::test]
async fn bad_questions_get_problems_that_help() {
    let world = world();
    let cases = [
        ("/v1/members/node-22", 404, "node-1 knows no member called node-22, did you mean node-2?"),
        ("/v1/members/node-2?x=1", 400, "unknown parameter `x`; none is taken here"),
        ("/v1/members?state=dead", 400, "state: expected one of alive, suspect, down, left, forgotten, found \"dead\""),
        ("/v1/members?state=down,forgotten", 400, "state: forgotten members are listed by themselves"),
        ("/v1/members?limit=0", 400, "limit: 0 is not between 1 and 1000"),
        ("/v1/members?index=x", 400, "index: expected an index such as 7:42, found \"x\""),
        ("/v1/members?index=6:1", 410, "the index 6:1 is of another life of this program; begin again without one"),
        ("/v1/members?stat=down", 400, "unknown parameter `stat`, did you mean `state`?"),
        ("/v1/members?limit=1&limit=2", 400, "limit: it is given more than once"),
        (
            "/v1/members?wait=soon",
            400,
            "wait: expected a duration such as 30s, 5m or 1h30m (units y, w, d, h, m, s, ms, largest first), found \"soon\"",
        ),
        ("/v1/members?cursor=x", 400, "cursor: expected what an earlier answer gave as next_cursor, found \"x\""),
        ("/v1/members?filter=stat%3Ddown", 400, "filter: there is no field `stat`, did you mean `state`?"),
        ("/v1/members?fields=nam", 400, "fields: there is no field `nam`, did you mean `name`?"),
        ("/v1/members?label=zone", 400, "label: expected NAME=VALUE, found \"zone\""),
        ("/v1/member", 404, "there is nothing at /v1/member"),
        ("/v2", 404, "there is nothing at /v2"),
    ];
    for (uri, status, detail) in cases {
        let (answered, problem) = get(&world, uri).await;
        assert_eq!((answered, &problem["detail"]), (status, &Value::from(detail)), "{uri}");
        assert_eq!(problem["status"], status);
        assert!(problem["code"].is_string() && problem["title"].is_string(), "{problem}");
    }
    assert_eq!(get(&world, "/readyz").await, (503, Value::from("still starting\n")));
    assert_eq!(get(&world, "/livez").await.0, 200);
}

#[tokio::test]
async fn what_the_layers_below_refuse_is_a_problem_as_well() {
    let world = world();
    let cases = [
        (Request::post("/v1/members"), 405, "method_not_allowed", "/v1/members takes GET, HEAD; it does not take POST"),
        (
            Request::delete("/v1/events"),
            405,
            "method_not_allowed",
            "/v1/events takes GET, HEAD; it does not take DELETE",
        ),
        (Request::get("/v1/members/%ff"), 400, "bad_request", "Invalid URL: Invalid UTF-8 in `name`"),
    ];
    for (request, status, code, detail) in cases {
        let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&problem["code"], &problem["detail"]), (&Value::from(code), &Value::from(detail)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocking_query_answers_on_a_change_and_at_the_end_of_its_wait() {
    let world = world();
    let (_, unchanged) = get(&world, "/v1/members?index=7:1&wait=5s").await;
    assert_eq!(unchanged["index"], "7:1");
    let router = world.router.clone();
    let waiting = tokio::spawn(async move {
        let request = Request::get("/v1/members?index=7:1&wait=60s").body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap().status()
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    world.publisher.publish(vec![], vec![change(1, MemberState::Suspect)], Vec::new());
    assert_eq!(waiting.await.unwrap(), 200);
}

#[tokio::test]
async fn events_resume_where_a_client_was_cut_off() {
    let world = world();
    world.publisher.publish(vec![], vec![change(1, MemberState::Suspect)], Vec::new());
    let read = async |id: Option<&str>| {
        let mut request = Request::get("/v1/events");
        if let Some(id) = id {
            request = request.header("last-event-id", id);
        }
        let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let mut body = response.into_body().into_data_stream();
        let mut text = String::new();
        for _ in 0..2 {
            text += std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap();
        }
        text
    };
    let resumed = read(Some("7:1")).await;
    assert!(resumed.starts_with("id: 7:1\n"), "{resumed}");
    assert!(
        resumed.contains("event: member\nid: 7:2\ndata: {") && resumed.contains("\"state\":\"suspect\""),
        "{resumed}"
    );
    let lost = read(Some("5:9")).await;
    assert!(lost.contains("event: resync\nid: 7:2\n"), "{lost}");
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let world = world();
    let body = Body::from(vec![0; watchfire_shared::limits::MAX_HTTP_BODY_BYTES + 1]);
    let response = world.router.clone().oneshot(Request::post("/v1/members").body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn a_server_stops_though_an_event_stream_is_open() {
    let world = world();
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address();
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(world.router.clone(), stop.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let taken = Server::bind(address).await.unwrap_err().to_string();
    assert!(taken.starts_with(&format!("cannot bind {address}")), "{taken}");
    stop.cancel();
    running.await.unwrap();
}
