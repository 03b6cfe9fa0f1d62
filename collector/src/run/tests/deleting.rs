//! Series are deleted over real HTTP, as Prometheus' clients do it.

use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Timestamp;

use super::*;

const DELETE: &str = "/api/v1/admin/tsdb/delete_series";
const CLEAN: &str = "/api/v1/admin/tsdb/clean_tombstones";

impl World {
    async fn form(&self, collector: &Collector, method: &str, path: &str, form: &str) -> (u16, Value) {
        let url = format!("http://{}{path}", service(collector, SERVICE_HTTP));
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, url);
        if !form.is_empty() {
            let kind = "application/x-www-form-urlencoded";
            request = request.header("content-type", kind).body(form.to_owned());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// What there is of the agent's own series.
    async fn series(&self, collector: &Collector) -> usize {
        let (_, found) = self.get(collector, "/api/v1/series?match[]=load").await;
        found["data"].as_array().unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_series_is_gone_at_once_and_after_a_restart_and_lives_on() {
    let done = (204, Value::String(String::new()));
    let world = World::new().await;
    let collector = world.start().await;
    let mut agent = Agent::connect(&collector).await;
    agent.report(1.0).await;
    assert_eq!(world.series(&collector).await, 1);

    // A time at which there is nothing.
    assert_eq!(world.form(&collector, "POST", DELETE, "match[]=load&start=5&end=9.5").await, done);
    assert_eq!(world.series(&collector).await, 1);
    let from_url = format!("{DELETE}?match%5B%5D=load&match%5B%5D=none");
    assert_eq!(world.form(&collector, "PUT", &from_url, "").await, done);
    // What a query gets that finds the engine busy.
    let last = collector.app.published.last_snapshot();
    let load = [Matcher::equal("__name__", "load")];
    assert_eq!(last.series(&load, Timestamp::MIN, Timestamp::MAX), []);
    assert_eq!(world.series(&collector).await, 0);
    assert_eq!(world.value(&collector, "load").await, None);
    agent.report(2.0).await;
    assert_eq!(world.value(&collector, "load").await.as_deref(), Some("2"));
    assert_eq!(world.form(&collector, "PUT", DELETE, "match[]=load").await, done);
    assert_eq!(world.form(&collector, "POST", CLEAN, "").await, done);
    assert_eq!(world.form(&collector, "PUT", CLEAN, "").await, done);
    collector.stop().await;

    let collector = world.start().await;
    let (_, found) = world.get(&collector, "/api/v1/query?query=count_over_time(load[1h])").await;
    let count = found["data"]["result"][0]["value"][1].as_str().map(str::to_owned);
    assert!(count.is_none_or(|count| count == "0"), "a stale marker at most: {found}");

    let (status, refused) = world.form(&collector, "POST", DELETE, "").await;
    assert_eq!((status, &refused["error"]), (400, &"no match[] parameter provided".into()));
    let (status, refused) = world.form(&collector, "POST", DELETE, "match[]=%7B").await;
    assert_eq!((status, &refused["errorType"]), (400, &"bad_data".into()));
    let too_long = format!("match[]={}", "x".repeat(5000));
    let (status, refused) = world.form(&collector, "POST", DELETE, &too_long).await;
    assert!(status == 400 && refused["error"].as_str().unwrap().contains("4096"), "{refused}");
    for path in [DELETE, CLEAN] {
        assert_eq!(world.form(&collector, "DELETE", path, "").await.0, 405);
        assert_eq!(world.get(&collector, path).await.0, 405);
        let url = format!("http://{}{path}?match[]=up", service(&collector, SERVICE_HTTP));
        let foreign = world.http.post(url).header("origin", "http://elsewhere.example").send().await.unwrap();
        assert_eq!(foreign.status().as_u16(), 403);
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn off_loopback_nobody_deletes() {
    let world = World::new().await;
    let path = world.folder.path().join("collector.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let open =
        config.replace("[http]\nbind = \"127.0.0.1:0\"", "[security]\ninsecure = true\n[http]\nbind = \"0.0.0.0:0\"");
    assert_ne!(open, config);
    write(&path, &open);
    let collector = world.start().await;
    let port = service(&collector, SERVICE_HTTP).port();
    for path in [DELETE, CLEAN] {
        let url = format!("http://127.0.0.1:{port}{path}?match[]=up");
        let refused = world.http.post(url).send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 500);
        let answer: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
        assert_eq!(answer["errorType"], "unavailable");
        assert!(answer["error"].as_str().unwrap().starts_with("admin APIs disabled"), "{answer}");
    }
    collector.stop().await;
}
