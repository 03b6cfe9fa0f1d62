//! A whole collector in this process: real sockets, a real disk, an agent and a webhook that the tests play.

mod outside;

mod queries;

use std::path::Path;
use std::sync::Mutex;

use axum::Router;
use axum::routing::post;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use watchfire_shared::frame::FrameReader;
use watchfire_shared::frame::body::{Coding, ValueState};
use watchfire_shared::frame::message::{Data, Dict, Hello, Lane, Message, PROTOCOL, SeriesEntry};
use watchfire_shared::labels::Labels;
use watchfire_shared::member::NodeId;
use watchfire_shared::sample::MetricKind;

use super::*;
use crate::load::load;

mod catalogue;

mod deleting;

mod origins;

mod forwarding;

/// Generous: a loaded machine must not fail a test that a quiet one passes at once.
const SOON: Duration = Duration::from_secs(60);

const RULES: &str = "groups:\n  - name: test\n    rules:\n      - record: twice\n        expr: 2 * load\n      - alert: Loaded\n        expr: load > 5\n";

/// A webhook that keeps what it was sent.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<Value>>>);

impl Sink {
    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = self.0.clone();
        let take = move |body: axum::Json<Value>| async move { received.lock().unwrap().push(body.0) };
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(take))).await });
        address
    }
}

struct World {
    folder: tempfile::TempDir,
    origin: Origin,
    sink: Sink,
    http: reqwest::Client,
}

impl World {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::default();
        let path = |name: &str| folder.path().join(name);
        let config = format!(
            "[node]\nname = \"watch\"\ndata_dir = {:?}\n[gossip]\nbind = \"127.0.0.1:0\"\n[http]\nbind = \"127.0.0.1:0\"\n\
             [ingest]\nbind = \"127.0.0.1:0\"\n[rules]\nfiles = [{:?}]\ninterval = \"1s\"\n[notify]\nfile = {:?}\n",
            path("data"),
            path("*.rules"),
            path("alertmanager.yml")
        );
        write(&path("collector.toml"), &config);
        write(&path("test.rules"), RULES);
        let url = sink.start().await;
        let routes = format!(
            "route: {{receiver: sink, group_wait: 0s, group_by: [alertname]}}\nreceivers:\n  - name: sink\n    webhook_configs: [{{url: 'http://{url}/'}}]\n"
        );
        write(&path("alertmanager.yml"), &routes);
        let origin = Origin { config: Some(path("collector.toml")), overrides: Vec::new() };
        Self { folder, origin, sink, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    async fn start(&self) -> Collector {
        Collector::start(load(&self.origin).unwrap(), self.origin.clone()).await.unwrap()
    }

    async fn get(&self, collector: &Collector, path: &str) -> (u16, Value) {
        let url = format!("http://{}{path}", service(collector, SERVICE_HTTP));
        let response = self.http.get(url).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn value(&self, collector: &Collector, query: &str) -> Option<String> {
        let (_, answer) = self.get(collector, &format!("/api/v1/query?query={query}")).await;
        answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

fn service(collector: &Collector, name: &str) -> SocketAddr {
    collector.membership.view().members.iter().find(|member| member.name == "watch").unwrap().services[name]
}

async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, looking).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// An agent that sends one series, `load`.
struct Agent {
    stream: TcpStream,
    reader: FrameReader,
    state: ValueState,
    seq: u64,
}

impl Agent {
    async fn connect(collector: &Collector) -> Self {
        let stream = TcpStream::connect(service(collector, SERVICE_INGEST)).await.unwrap();
        let mut state = ValueState::default();
        state.resize(1);
        let mut agent = Self { stream, reader: FrameReader::default(), state, seq: 0 };
        let hello = Hello {
            proto: PROTOCOL,
            features: Vec::new(),
            cluster: "watchfire".into(),
            agent_id: NodeId(7),
            name: "web-1".into(),
            labels: Default::default(),
            version: "0.1.0".into(),
            epoch: 1,
            spool_epoch: 1,
            clock_ms: Clock::start().wall().as_millis(),
            interval_ms: 1000,
            spooled: None,
        };
        agent.send(&Message::Hello(hello)).await;
        let answer = agent.receive().await;
        assert!(matches!(&answer, Message::HelloAck(ack) if ack.name == "watch"), "{answer:?}");
        let series = SeriesEntry { slot: 0, labels: Labels::new([("__name__", "load")]), kind: MetricKind::Gauge };
        let dict = Dict { lane: Lane::Live, dict_id: 1, base: true, add: vec![series], remove: Vec::new() };
        agent.send(&Message::Dict(dict)).await;
        agent
    }

    async fn send(&mut self, message: &Message) {
        self.stream.write_all(&message.encode()).await.unwrap();
    }

    async fn receive(&mut self) -> Message {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return Message::decode(frame).unwrap().unwrap();
            }
            let length = self.stream.read(&mut buffer).await.unwrap();
            assert!(length > 0, "the collector hung up");
            self.reader.push(&buffer[..length]);
        }
    }

    /// Sends a value and waits until it is durable.
    async fn report(&mut self, value: f64) {
        self.seq += 1;
        let mut body = Vec::new();
        self.state.encode(&[value], self.seq == 1, &mut body);
        let (seq, keyframe) = (self.seq, self.seq == 1);
        let ts_ms = Clock::start().wall().as_millis();
        self.send(&Message::Data(Data {
            lane: Lane::Live,
            seq,
            dict_id: 1,
            ts_ms,
            n: 1,
            keyframe,
            body,
            coding: Coding::Short,
        }))
        .await;
        loop {
            match self.receive().await {
                Message::Ack(ack) if ack.seq == self.seq => return,
                Message::Ack(_) | Message::Slow(_) | Message::LifeWanted(_) => {}
                other => panic!("expected an acknowledgement, found {other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_becomes_a_rule_result_and_a_notification_and_survives_a_restart() {
    let world = World::new().await;
    let collector = world.start().await;
    assert_eq!(world.get(&collector, "/-/ready").await.0, 200);
    let mut agent = Agent::connect(&collector).await;
    agent.report(7.0).await;
    let labels = "load{instance=\"web-1\",job=\"node\"}";
    assert_eq!(world.value(&collector, labels).await.as_deref(), Some("7"), "acknowledged is readable");
    until("the recording rule ran", async || world.value(&collector, "twice").await).await;
    let notified = until("the webhook was called", async || world.sink.0.lock().unwrap().first().cloned()).await;
    assert_eq!((&notified["version"], &notified["status"]), (&"4".into(), &"firing".into()));
    assert_eq!(notified["alerts"][0]["labels"]["alertname"], "Loaded");
    assert_eq!(notified["alerts"][0]["labels"]["instance"], "web-1");

    let (_, nodes) = world.get(&collector, "/v1/nodes").await;
    let names: Vec<&str> =
        nodes["items"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["watch", "web-1"]);
    // The picture that the API shows is redrawn a moment after a change.
    let firing = async || {
        let node = world.get(&collector, "/v1/nodes/web-1").await.1;
        (node["alerts"]["firing"] == 1).then_some(())
    };
    until("the node shows its alert", firing).await;
    let (_, alerts) = world.get(&collector, "/api/v1/alerts").await;
    assert_eq!(alerts["data"]["alerts"][0]["state"], "firing");
    collector.stop().await;

    let again = world.start().await;
    let history = world.value(&again, "count_over_time(load[1h])").await;
    assert_eq!(history.as_deref(), Some("1"), "the sample was replayed");
    again.stop().await;
    assert_eq!(world.sink.0.lock().unwrap().len(), 1, "nothing was told twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_keeps_the_old_rules_and_says_so() {
    let world = World::new().await;
    let collector = world.start().await;
    let group_names = async || {
        let (_, rules) = world.get(&collector, "/api/v1/rules").await;
        let groups = rules["data"]["groups"].as_array().unwrap().clone();
        groups.iter().map(|group| group["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let reload = async || {
        let url = format!("http://{}/-/reload", service(&collector, SERVICE_HTTP));
        let response = world.http.post(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let bad = world.folder.path().join("bad.rules");
    write(&bad, "groups:\n  - nam: x\n");
    let (status, told) = reload().await;
    assert_eq!(status, 500);
    assert!(told.contains("bad.rules:2:5: unknown key `nam`, did you mean `name`?"), "{told}");
    assert_eq!(group_names().await, ["test"]);
    let metrics = world.get(&collector, "/metrics").await.1;
    assert!(metrics.as_str().unwrap().contains("\nwatchfire_config_last_reload_successful 0\n"));

    write(&bad, "groups:\n  - name: more\n    rules: [{record: one, expr: vector(1)}]\n");
    assert_eq!(reload().await, (200, String::new()));
    until("the new group is there", async || (group_names().await == ["more", "test"]).then_some(())).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_shipped_rules_read_of_the_collector_is_among_its_metrics() {
    let world = World::new().await;
    let collector = world.start().await;
    let answer = world.get(&collector, "/metrics").await.1;
    let metrics = answer.as_str().unwrap();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/rules");
    let mut read = 0;
    for file in watchfire_shell::files::expand(&rules.join("*.yml").to_string_lossy()).unwrap() {
        let text = std::fs::read_to_string(file).unwrap();
        for group in watchfire_collector_core::rules::parse("rules", &text).unwrap() {
            for selector in group.rules.iter().flat_map(|rule| rule.expr.selectors()) {
                let Some(name) = selector.name.as_deref().filter(|name| name.starts_with("watchfire_")) else {
                    continue;
                };
                // Series about nodes and the fleet stand in the store only.
                if ["node", "member", "group", "ephemeral"].iter().any(|of| name[10..].starts_with(of)) {
                    continue;
                }
                read += 1;
                assert!(metrics.contains(&format!("# TYPE {name} ")), "{name} is not among the metrics");
            }
        }
    }
    assert!(read > 12, "only {read} metrics are read");
    for name in
        ["watchfire_storage_full", "watchfire_wal_sync_failures_total", "watchfire_rule_evaluation_failures_total"]
    {
        assert!(metrics.contains(&format!("\n{name} 0\n")), "{name} has no value");
    }
    let names: Vec<&str> = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(names.len(), once.len(), "a family stands there twice");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_query_api_answers_and_refuses_as_prometheus_does() {
    let world = World::new().await;
    let collector = world.start().await;
    let address = service(&collector, SERVICE_HTTP);
    let refused = [
        ("query?query=1%2B", 400, "bad_data", "invalid parameter \"query\": 1:3: parse error: unexpected end of input"),
        (
            "query?query=1&time=x",
            400,
            "bad_data",
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a valid timestamp",
        ),
        (
            "query_range?query=1&start=2&end=1&step=1",
            400,
            "bad_data",
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        (
            "query_range?query=1&start=0&end=1&step=0",
            400,
            "bad_data",
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "query_range?query=1&start=0&end=11001&step=1",
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        ("series", 400, "bad_data", "no match[] parameter provided"),
        ("rules?type=x", 400, "bad_data", "invalid parameter \"type\": not supported value \"x\""),
        (
            "rules?group_next_token=x&group_limit=1",
            400,
            "bad_data",
            "invalid parameter \"group_next_token\": invalid group_next_token 'x'. were rule groups changed?",
        ),
        (
            "query",
            400,
            "bad_data",
            "invalid parameter \"query\": unknown position: parse error: no expression found in input",
        ),
        ("query?query=1&timeout=0", 503, "timeout", "query timed out in query execution"),
        ("metadata?limit=x", 400, "bad_data", "limit must be a number"),
    ];
    for (path, status, kind, message) in refused {
        let (answered, body) = world.get(&collector, &format!("/api/v1/{path}")).await;
        let expected = serde_json::json!({"status": "error", "errorType": kind, "error": message});
        assert_eq!((answered, body), (status, expected), "{path}");
    }
    let (status, body) = world.get(&collector, "/api/v1/query?query=vector(1)%20%2B%20on()%20(vector(1)%20or%20label_replace(vector(2),%22a%22,%22b%22,%22%22,%22%22))").await;
    assert_eq!((status, &body["errorType"]), (422, &"execution".into()), "{body}");

    let form = [("query", "1 + 1"), ("time", "1.5")];
    let response = world.http.post(format!("http://{address}/api/v1/query")).form(&form).send().await.unwrap();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body, serde_json::json!({"status": "success", "data": {"resultType": "scalar", "result": [1.5, "2"]}}));
    let (_, formatted) = world.get(&collector, "/api/v1/format_query?query=sum(up)by(job)").await;
    assert_eq!(formatted["data"], "sum by (job) (up)");

    until("the collector's own series are there", async || world.value(&collector, "watchfire_member_state").await)
        .await;
    let (_, values) = world.get(&collector, "/api/v1/label/instance/values?match[]=watchfire_member_state").await;
    assert_eq!(values["data"], serde_json::json!(["watch"]));
    let (_, labels) = world.get(&collector, "/api/v1/labels?match[]=watchfire_member_state").await;
    assert!(labels["data"].as_array().unwrap().contains(&"state".into()), "{labels}");
    assert_eq!(world.get(&collector, "/nothing").await.0, 404);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_collector_on_one_data_directory_is_refused() {
    let world = World::new().await;
    let collector = world.start().await;
    let second = Collector::start(load(&world.origin).unwrap(), world.origin.clone()).await;
    let message = second.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(message.contains("is in use by process"), "{message}");
    collector.stop().await;
}
