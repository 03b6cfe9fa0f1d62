//! Real processes on loopback: agents and collectors on free ports, in one temporary folder, ended with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::sink::Sink;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// What a process is and where its parts listen.
pub struct Node {
    pub name: String,
    program: &'static str,
    config: PathBuf,
    pub gossip: SocketAddr,
    pub http: SocketAddr,
    /// Where a collector takes frames.
    pub ingest: Option<SocketAddr>,
    child: Option<Child>,
}

/// How the processes of a house are set up.
pub struct Setup {
    /// Distance of two ticks of an agent.
    pub interval: &'static str,
    pub rule_interval: &'static str,
    pub profile: &'static str,
    /// Rule files; the shipped ones by default.
    pub rules: PathBuf,
    /// The `route` of alertmanager.yml, indented by two spaces, with the receiver `sink`.
    pub route: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            interval: "500ms",
            rule_interval: "2s",
            profile: "local",
            rules: project().join("packaging/rules/*.yml"),
            route: "  receiver: sink\n  group_by: [alertname, instance]\n  group_wait: 0s\n  group_interval: 1s\n  repeat_interval: 4h\n",
        }
    }
}

/// A fleet of real processes and the webhook that they notify.
pub struct House {
    binary: PathBuf,
    setup: Setup,
    folder: tempfile::TempDir,
    /// What stands in the configuration of a node besides the usual, by its name; for nodes that are added later.
    pub extra: BTreeMap<String, String>,
    /// More integrations of the receiver `sink`, as YAML indented by four spaces; for collectors that are added later.
    pub receivers: String,
    pub sink: Sink,
    nodes: BTreeMap<String, Node>,
    http: reqwest::Client,
}

/// The project's top folder.
#[must_use]
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the project").to_owned()
}

impl House {
    /// An empty house whose processes are started from `binary`, a program that calls [`crate::multicall::dispatch`].
    pub async fn new(binary: impl Into<PathBuf>, setup: Setup) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sink = Sink::start().await.expect("loopback has free ports");
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
        Self {
            binary: binary.into(),
            setup,
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            extra: BTreeMap::new(),
            receivers: String::new(),
            sink,
            nodes: BTreeMap::new(),
            http: http.expect("the client has no options that can fail"),
        }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    #[must_use]
    pub fn node(&self, name: &str) -> &Node {
        &self.nodes[name]
    }

    /// The names of all processes, running or not.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// Sets a collector up and starts it; it joins whom it is told.
    pub fn add_collector(&mut self, name: &str, join: &[SocketAddr]) {
        let [gossip, http, ingest] = free_ports();
        let alertmanager = self.folder().join(format!("{name}-alertmanager.yml"));
        let url = format!("http://{}/", self.sink.address);
        let receivers = format!("receivers:\n  - name: sink\n    webhook_configs:\n      - url: {url}\n");
        write(&alertmanager, &format!("route:\n{}{receivers}{}", self.setup.route, self.receivers));
        let config = format!(
            "{}[http]\nbind = \"{http}\"\n[ingest]\nbind = \"{ingest}\"\n[rules]\nfiles = [{:?}]\ninterval = \"{}\"\n[notify]\nfile = {:?}\n",
            self.common(name, gossip, join),
            self.setup.rules,
            self.setup.rule_interval,
            alertmanager
        );
        self.add(name, "watchfire-collector", &config, [gossip, http], Some(ingest));
    }

    /// Sets an agent up and starts it.
    pub fn add_agent(&mut self, name: &str, join: &[SocketAddr]) {
        let [gossip, http, _] = free_ports();
        let config = format!(
            "{}[node.labels]\nrole = \"test\"\n[http]\nbind = \"{http}\"\n[collect]\ninterval = \"{}\"\n",
            self.common(name, gossip, join),
            self.setup.interval
        );
        self.add(name, "watchfire-agent", &config, [gossip, http], None);
    }

    fn common(&self, name: &str, gossip: SocketAddr, join: &[SocketAddr]) -> String {
        let join: Vec<String> = join.iter().map(ToString::to_string).collect();
        format!(
            "[node]\nname = \"{name}\"\ndata_dir = {:?}\n[gossip]\nbind = \"{gossip}\"\njoin = {join:?}\nprofile = \"{}\"\n",
            self.folder().join(name).join("data"),
            self.setup.profile
        )
    }

    fn add(
        &mut self,
        name: &str,
        program: &'static str,
        config: &str,
        [gossip, http]: [SocketAddr; 2],
        ingest: Option<SocketAddr>,
    ) {
        let folder = self.folder().join(name);
        std::fs::create_dir_all(&folder).expect("the temporary folder is ours");
        let path = folder.join("config.toml");
        let extra = self.extra.get(name).map(String::as_str).unwrap_or_default();
        write(&path, &format!("{config}{extra}"));
        let node = Node { name: name.to_owned(), program, config: path, gossip, http, ingest, child: None };
        self.nodes.insert(name.to_owned(), node);
        self.start(name);
    }

    /// Starts a process that is not running.
    pub fn start(&mut self, name: &str) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder().join(format!("{name}.log")));
        let log = log.expect("the temporary folder is ours");
        let node = self.nodes.get_mut(name).expect("a node of this house");
        assert!(node.child.is_none(), "{name} runs already");
        let child = Command::new(&self.binary)
            .args([node.program, "run", "--config"])
            .arg(&node.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .spawn();
        node.child = Some(child.expect("the binary can be started"));
    }

    /// The process id of a running node.
    #[must_use]
    pub fn pid(&self, name: &str) -> u32 {
        self.nodes[name].child.as_ref().expect("the process runs").id()
    }

    /// Ends a process as `kill -9` does.
    pub fn kill(&mut self, name: &str) {
        self.end(name, Signal::KILL);
    }

    /// Asks a process to stop and waits for it; returns its exit code.
    pub fn stop(&mut self, name: &str) -> Option<i32> {
        self.end(name, Signal::TERM)
    }

    /// Sends a signal to a process and leaves it running, if the signal does.
    pub fn signal(&self, name: &str, signal: Signal) {
        let pid =
            Pid::from_raw(i32::try_from(self.pid(name)).expect("process ids fit")).expect("process ids are positive");
        kill_process(pid, signal).expect("the process is ours");
    }

    fn end(&mut self, name: &str, signal: Signal) -> Option<i32> {
        self.signal(name, signal);
        let mut child = self.nodes.get_mut(name).and_then(|node| node.child.take()).expect("the process runs");
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("the process is ours") {
                return status.code();
            }
            if started.elapsed() > Duration::from_secs(10) {
                let _ = child.kill();
                panic!("{name} did not end within 10 s of {signal:?}\n{}", self.logs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What a node answers to a path, as JSON; `None` if it does not answer with success.
    pub async fn get(&self, name: &str, path: &str) -> Option<Value> {
        let response = self.http.get(format!("http://{}{path}", self.nodes[name].http)).send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        response.json().await.ok()
    }

    /// What a node answers to a path, as text, with the status.
    pub async fn get_text(&self, name: &str, path: &str) -> Option<(u16, String)> {
        let response = self.http.get(format!("http://{}{path}", self.nodes[name].http)).send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.text().await.ok()?))
    }

    /// The value of an instant query with one result.
    pub async fn query(&self, name: &str, query: &str) -> Option<f64> {
        let url = format!("http://{}/api/v1/query", self.nodes[name].http);
        let response = self.http.post(url).form(&[("query", query)]).send().await.ok()?;
        let body: Value = response.json().await.ok()?;
        body["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// A metric without labels from a node's own `/metrics`.
    pub async fn metric(&self, name: &str, metric: &str) -> Option<f64> {
        let (_, text) = self.get_text(name, "/metrics").await?;
        let line = text.lines().find(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(' ')))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// The states that `viewer` gives the members, by name.
    pub async fn states(&self, viewer: &str) -> BTreeMap<String, String> {
        let Some(list) = self.get(viewer, "/v1/members").await else { return BTreeMap::new() };
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        items.iter().map(|item| (text(&item["name"]), text(&item["state"]))).collect()
    }

    /// Waits until `viewer` sees `subject` in a state.
    pub async fn wait_for_state(&self, viewer: &str, subject: &str, state: &str, within: Duration) {
        let what = format!("{viewer} sees {subject} as {state}");
        self.wait(&what, within, async || (self.states(viewer).await.get(subject)? == state).then_some(())).await;
    }

    /// Waits until every running node sees every node of the house alive.
    pub async fn wait_until_complete(&self, within: Duration) {
        let names: Vec<&str> = self.names().collect();
        self.wait("every node sees every node alive", within, async || {
            for viewer in &names {
                let states = self.states(viewer).await;
                if states.len() != names.len() || states.values().any(|state| state != "alive") {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// Waits until the collector's webhook has such an alert, and returns the time since `from`.
    pub async fn wait_for_alert(
        &self,
        status: &str,
        alert: &str,
        instance: &str,
        from: Instant,
        within: Duration,
    ) -> Duration {
        let what = format!("the webhook has {status} {alert} of {instance}");
        let received = self.wait(&what, within, async || self.sink.find(status, alert, instance)).await;
        received.at.saturating_duration_since(from)
    }

    /// Looks at a condition until it holds; panics with every log if it does not in time.
    pub async fn wait<T>(&self, what: &str, within: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            assert!(started.elapsed() < within, "not within {within:?}: {what}\n{}", self.logs());
            tokio::time::sleep(POLL).await;
        }
    }

    /// The end of each log, and what the webhook received.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut out = String::new();
        for name in self.names() {
            let log = std::fs::read_to_string(self.folder().join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            out += &format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        let received: Vec<_> = self.sink.received().iter().flat_map(|received| received.alerts()).collect();
        out + &format!("--- webhook\n{received:?}\n")
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for node in self.nodes.values_mut() {
            if let Some(mut child) = node.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the temporary folder is ours");
}

/// Three loopback addresses whose ports are free for UDP and TCP.
#[must_use]
pub fn free_ports() -> [SocketAddr; 3] {
    std::array::from_fn(|_| watchfire_shell::bind::free().expect("one of twelve thousand ports is free"))
}
