//! What a person says of nodes over HTTP, and what is shown of it: filters, health, maintenance, history, the inventory.

use serde_json::json;

use super::*;

impl World {
    /// Sends a change and gives status and body.
    async fn change(&self, collector: &Collector, method: &str, path: &str, body: &str) -> (u16, Value) {
        let url = format!("http://{}{path}", service(collector, SERVICE_HTTP));
        let request = self.http.request(method.parse().unwrap(), url).body(body.to_owned());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_announced_for_maintenance_and_ends_it_and_is_decommissioned() {
    let mut world = World::new().await;
    let inventory = world.folder.path().join("inventory.json");
    write(&inventory, r#"[{"targets": ["db-1:9100"], "labels": {"zone": "a", "role": "db"}}]"#);
    world.origin.overrides = vec![("inventory.files".to_owned(), format!("[{inventory:?}]"))];
    let collector = world.start().await;
    let mut agent = Agent::connect(&collector).await;
    agent.report(7.0).await;
    let all = until("the node is shown", async || {
        let list = world.get(&collector, "/v1/nodes").await.1;
        (names(&list) == ["db-1", "watch", "web-1"]).then_some(list)
    });
    let unseen = all.await["items"][0].clone();
    assert_eq!((&unseen["id"], &unseen["state"], &unseen["health"]), (&Value::Null, &Value::Null, &"unknown".into()));
    let labelled = world.get(&collector, "/v1/nodes?label=zone=a&role=agent").await.1;
    assert_eq!(names(&labelled), ["db-1"]);

    let path = "/v1/nodes/web-1/maintenance";
    let (status, node) = world.change(&collector, "POST", path, r#"{"for": "2h", "reason": "disks"}"#).await;
    assert_eq!((status, &node["health"]), (200, &"maintenance".into()), "{node}");
    assert!(node["reasons"][0].as_str().unwrap().ends_with(": disks"), "{node}");
    assert_eq!(names(&world.get(&collector, "/v1/nodes?health=maintenance").await.1), ["web-1"]);
    let health = world.get(&collector, "/v1/health?by=role,zone&by=none").await.1;
    let item = |index: usize| health["items"][index].clone();
    assert_eq!(item(0)["group"], json!({"role": "", "zone": "", "none": ""}), "{health}");
    assert_eq!((&item(0)["nodes"], &item(0)["maintenance"]), (&2.into(), &1.into()));
    let reasons = json!(["1 of 1 unknown: db-1"]);
    let counted = json!({"group": {"role": "db", "zone": "a", "none": ""}, "nodes": 1, "ok": 0, "degraded": 0, "down": 0,
        "unknown": 1, "maintenance": 0, "health": "unknown", "reasons": reasons});
    assert_eq!(item(1), counted);

    assert_eq!(world.change(&collector, "DELETE", path, "").await.0, 200);
    assert_eq!(world.change(&collector, "DELETE", path, "").await.1["code"], "not_in_maintenance");
    assert_eq!(world.change(&collector, "DELETE", "/v1/nodes/watch", "").await.1["code"], "still_there");
    assert_eq!(world.change(&collector, "DELETE", "/v1/nodes/db-1", "").await.1["code"], "still_there");
    drop(agent);
    let gone = until("the node is decommissioned", async || {
        let (status, _) = world.change(&collector, "POST", "/v1/nodes/web-1/decommission", "").await;
        (status == 204).then_some(())
    });
    gone.await;
    assert_eq!(names(&world.get(&collector, "/v1/nodes").await.1), ["db-1", "watch"]);
    let history = world.get(&collector, "/v1/history?node=web-1&source=operator&from=2020-01-01T00:00:00Z").await.1;
    let states: Vec<&str> = history["items"].as_array().unwrap().iter().map(|i| i["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["maintenance", "in_service", "decommissioned"]);
    assert_eq!((&history["items"][0]["to"], &history["items"][2]["to"]), (&history["items"][1]["from"], &Value::Null));
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_understood_is_refused_and_says_why() {
    let world = World::new().await;
    let collector = world.start().await;
    until("the collector sees itself", async || {
        (world.get(&collector, "/v1/nodes/watch").await.0 == 200).then_some(())
    })
    .await;
    let maintain = "/v1/nodes/watch/maintenance";
    for (path, body, status, told) in [
        (maintain, "", 400, "the body cannot be read"),
        (maintain, "{\"for\": \"2h\", \"why\": \"\"}", 400, "unknown field `why`"),
        (maintain, "{\"for\": \"soon\"}", 400, "for: "),
        (maintain, "{\"for\": \"0s\"}", 400, "for: expected more than 0"),
        (maintain, "{\"for\": \"1y\"}", 400, "found \"1y\""),
        ("/v1/nodes/wotch/maintenance", "{\"for\": \"2h\"}", 404, "did you mean watch?"),
    ] {
        let (answered, problem) = world.change(&collector, "POST", path, body).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(answered == status && detail.contains(told), "{path} {body}: {answered} {problem}");
    }
    for (path, told) in [
        ("/v1/nodes?label=zone", "label: expected NAME=VALUE"),
        ("/v1/nodes?health=fine", "health: expected one of ok, degraded, down, unknown, maintenance"),
        ("/v1/health?by=", "by: expected the name of a label"),
        ("/v1/health?bye=role", "did you mean `by`?"),
        ("/v1/history?from=yesterday", "from: expected a time such as"),
        ("/v1/history?node=wotch", "did you mean watch?"),
        ("/v1/history?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to: expected a time after from"),
    ] {
        let (_, problem) = world.get(&collector, path).await;
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{path}: {problem}");
    }
    let url = format!("http://{}/v1/nodes/watch/maintenance", service(&collector, SERVICE_HTTP));
    let foreign = world.http.post(url).header("Origin", "https://evil.example").body("{\"for\": \"2h\"}");
    assert_eq!(foreign.send().await.unwrap().status().as_u16(), 403);
    assert_eq!(world.get(&collector, "/v1/nodes/watch").await.1["maintenance_until"], Value::Null);
    collector.stop().await;
}
