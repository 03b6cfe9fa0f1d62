//! Alertmanager's API over real HTTP: what its clients send, what they are answered, and what is refused.

use serde_json::json;

use super::*;

impl World {
    /// Sends a request with a body and headers; the answer's status and body.
    async fn send(
        &self,
        collector: &Collector,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, Value) {
        let url = format!("http://{}{path}", service(collector, SERVICE_HTTP));
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, url).body(body.to_owned());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn post(&self, collector: &Collector, path: &str, body: &Value) -> (u16, Value) {
        self.send(collector, "POST", path, &[("content-type", "application/json")], &body.to_string()).await
    }
}

fn silence(id: Option<&str>, until: &str) -> Value {
    json!({"id": id, "matchers": [{"name": "alertname", "value": "A|B", "isRegex": true, "isEqual": true}],
           "startsAt": "2020-01-01T00:00:00Z", "endsAt": until, "createdBy": "me", "comment": "why", "annotations": {"k": "v"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_from_outside_is_told_and_a_silence_keeps_it_quiet() {
    let world = World::new().await;
    let collector = world.start().await;
    let alerts = json!([{"labels": {"alertname": "C", "x": "1"}, "annotations": {"summary": "text"}}, {"labels": {"alertname": "A"}}]);
    let made = world.post(&collector, "/api/v2/silences", &silence(None, "2200-01-01T00:00:00Z")).await;
    let id = made.1["silenceID"].as_str().unwrap().to_owned();
    assert_eq!(world.post(&collector, "/api/v2/alerts", &alerts).await, (200, Value::String(String::new())));

    let (_, shown) = world.get(&collector, "/api/v2/alerts").await;
    let state = |alert: &Value| format!("{} {}", alert["labels"]["alertname"], alert["status"]["state"]);
    let mut states: Vec<String> = shown.as_array().unwrap().iter().map(state).collect();
    states.sort();
    assert_eq!(states, ["\"A\" \"suppressed\"", "\"C\" \"active\""], "what was answered can be seen");
    let (_, quiet) = world.get(&collector, "/api/v2/alerts?active=false").await;
    assert_eq!(quiet[0]["status"]["silencedBy"], json!([id]));
    let filtered = "/api/v2/alerts?filter=x%3D~%221%7C2%22&receiver=si.k&silenced=false";
    let (_, one) = world.get(&collector, filtered).await;
    assert_eq!((one.as_array().unwrap().len(), &one[0]["receivers"]), (1, &json!([{"name": "sink"}])));
    let (_, groups) = world.get(&collector, "/api/v2/alerts/groups").await;
    assert_eq!(groups.as_array().unwrap().len(), 2);
    assert_eq!(groups[1]["labels"], json!({"alertname": "C"}));

    let told = until("the webhook was called", async || world.sink.0.lock().unwrap().first().cloned()).await;
    assert_eq!(told["alerts"][0]["labels"]["alertname"], "C");
    let (status, _) = world.send(&collector, "DELETE", &format!("/api/v2/silence/{id}"), &[], "").await;
    assert_eq!(status, 200);
    let (_, own) = world.get(&collector, &format!("/api/v2/silence/{id}")).await;
    assert_eq!((&own["status"]["state"], &own["annotations"]["k"]), (&"expired".into(), &"v".into()));
    let ended = json!([{"labels": {"alertname": "C", "x": "1"}, "endsAt": "2020-01-01T00:00:00Z"}]);
    assert_eq!(world.post(&collector, "/api/v2/alerts", &ended).await.0, 200);
    let (_, left) = world.get(&collector, "/api/v2/alerts").await;
    assert_eq!(left.as_array().unwrap().iter().map(state).collect::<Vec<_>>(), ["\"A\" \"active\""]);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_as_alertmanager_refuses_them() {
    let world = World::new().await;
    let collector = world.start().await;
    let good = silence(None, "2200-01-01T00:00:00Z");
    let without = |name: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let code = |code: u16, message: &str| json!({"code": code, "message": message});
    let matcher = json!([{"name": "a", "value": "", "isRegex": false}]);
    let cases = [
        ("silences", without("comment"), 422, code(602, "comment in body is required")),
        ("silences", with("matchers", json!([])), 422, code(612, "matchers in body should have at least 1 items")),
        (
            "silences",
            with("matchers", json!([{"name": "a", "value": "b"}])),
            422,
            code(602, "matchers.0.isRegex in body is required"),
        ),
        (
            "silences",
            with("matchers", matcher),
            400,
            "invalid silence: at least one matcher must not match the empty text".into(),
        ),
        (
            "silences",
            with("endsAt", "2020-01-02T00:00:00Z".into()),
            400,
            "Failed to create silence: the end must not be in the past".into(),
        ),
        ("silences", with("id", "00000000-0000-4000-8000-000000000000".into()), 404, "silence not found".into()),
        ("alerts", json!([{"annotations": {}}]), 422, code(602, "0.labels in body is required")),
        (
            "alerts",
            json!([{"labels": {"a": "b"}, "generatorURL": "x"}]),
            422,
            code(601, "0.generatorURL in body must be of type uri: \"x\""),
        ),
        (
            "alerts",
            json!([{"labels": {"a": ""}}, {"labels": {"alertname": "Good"}}]),
            400,
            "at least one label pair required".into(),
        ),
    ];
    for (path, body, status, answer) in cases {
        assert_eq!(world.post(&collector, &format!("/api/v2/{path}"), &body).await, (status, answer), "{body}");
    }
    let (_, taken) = world.get(&collector, "/api/v2/alerts").await;
    assert_eq!(taken[0]["labels"], json!({"alertname": "Good"}), "the good part of a batch is taken");
    for path in ["alerts?filter=x", "silences?filter=%7B", "alerts?receiver=("] {
        assert_eq!(world.get(&collector, &format!("/api/v2/{path}")).await.0, 400, "{path}");
    }
    assert_eq!(world.get(&collector, "/api/v2/silence/nope").await.0, 422);
    assert_eq!(world.get(&collector, "/api/v2/silence/00000000-0000-4000-8000-000000000000").await.0, 404);
    assert_eq!(world.get(&collector, "/api/v2/silences").await.1, json!([]), "no silence was made");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_sites_change_nothing() {
    let world = World::new().await;
    let collector = world.start().await;
    let own = format!("http://{}", service(&collector, SERVICE_HTTP));
    let body = silence(None, "2200-01-01T00:00:00Z").to_string();
    let json_type = ("content-type", "application/json");
    let elsewhere = ("origin", "http://evil.example");
    for (method, path, headers, status) in [
        ("POST", "/api/v2/silences", vec![json_type, elsewhere], 403),
        ("POST", "/api/v2/silences", vec![("content-type", "text/plain")], 415),
        ("POST", "/api/v2/silences", vec![("content-type", "application/x-www-form-urlencoded")], 415),
        ("POST", "/api/v2/alerts", vec![json_type, ("sec-fetch-site", "cross-site")], 403),
        ("DELETE", "/api/v2/silence/00000000-0000-4000-8000-000000000000", vec![elsewhere], 403),
        ("POST", "/-/reload", vec![elsewhere], 403),
    ] {
        assert_eq!(
            world.send(&collector, method, path, &headers, &body).await.0,
            status,
            "{method} {path} {headers:?}"
        );
    }
    assert_eq!(world.get(&collector, "/api/v2/silences").await.1, json!([]));
    let headers = [json_type, ("origin", own.as_str())];
    assert_eq!(world.send(&collector, "POST", "/api/v2/silences", &headers, &body).await.0, 200);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_what_fails_and_waits_for_changes() {
    let world = World::new().await;
    write(
        &world.folder.path().join("failing.rules"),
        "groups:\n  - name: bad\n    rules: [{record: x, expr: 'vector(1) + on() group_left() (vector(1) or label_replace(vector(2), \"a\", \"b\", \"\", \"\"))'}]\n",
    );
    let collector = world.start().await;
    let failing = async || {
        let (_, status) = world.get(&collector, "/v1/status").await;
        (status["rules"]["failing"][0]["rule"] == "x").then_some(status)
    };
    let status = until("the rule fails", failing).await;
    assert_eq!(
        (&status["node"], &status["ready"], &status["rules"]["rules"]),
        (&"watch".into(), &true.into(), &3.into())
    );
    let index = status["index"].as_str().unwrap();
    let path = format!("/v1/status?index={index}&wait=30s");
    let alert = json!([{"labels": {"alertname": "A"}}]);
    let (answer, posted) = tokio::join!(world.get(&collector, &path), world.post(&collector, "/api/v2/alerts", &alert));
    assert_eq!(posted.0, 200);
    assert_ne!(answer.1["index"], index, "a change ends the wait");
    assert_eq!(world.get(&collector, "/v1/status?index=1:1").await.0, 410);

    let (_, shown) = world.get(&collector, "/api/v2/status").await;
    let original = shown["config"]["original"].as_str().unwrap();
    assert!(original.contains("url: <secret>") && original.contains("receiver: sink"), "{original}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_of_notifications_lead_to_answers() {
    let world = World::new().await;
    let collector = world.start().await;
    // As a rule writes it.
    let (status, value) = world.send(&collector, "GET", "/graph?g0.expr=1+%2B+1&g0.tab=1", &[], "").await;
    assert_eq!((status, &value["data"]["result"][1]), (200, &json!("2")), "{value}");
    let (status, alerts) = world.send(&collector, "GET", "/", &[], "").await;
    assert_eq!((status, alerts), (200, json!([])));
    collector.stop().await;
}
