//! The same load as Prometheus remote write 1.0: protobuf in snappy, as many samples to a request and requests at a time
//! as Prometheus itself sends once it is busy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::ensure;
use watchfire_shared::frame::varint;

use super::load::{Host, Load, SERIES_PER_HOST};

/// Hosts whose tick is one request: 2,000 samples, Prometheus' `max_samples_per_send`.
const HOSTS_PER_REQUEST: usize = 4;
/// Requests at a time, each flow with its own hosts, as Prometheus' shards have their own series.
pub(super) const SHARDS: usize = 8;

/// All requests of a load by shard, compressed, made before the clock starts.
pub(super) struct Requests {
    samples: usize,
    shards: Vec<Vec<Vec<u8>>>,
}

impl Requests {
    pub(super) fn of(load: &Load) -> Self {
        let mut shards = vec![Vec::new(); SHARDS];
        let groups: Vec<Vec<usize>> =
            (0..load.hosts).collect::<Vec<_>>().chunks(HOSTS_PER_REQUEST).map(<[usize]>::to_vec).collect();
        let mut sources: Vec<Vec<Source>> =
            groups.iter().map(|hosts| hosts.iter().map(|host| Source::new(*host)).collect()).collect();
        let mut encoder = snap::raw::Encoder::new();
        for step in 0..load.steps {
            for (at, group) in sources.iter_mut().enumerate() {
                let mut body = Vec::new();
                group.iter_mut().for_each(|source| source.put(load.time(step), &mut body));
                shards[at % SHARDS].push(encoder.compress_vec(&body).unwrap_or_default());
            }
        }
        Self { samples: load.samples(), shards }
    }

    /// Bytes of all requests, their HTTP headers left out.
    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().flatten().map(Vec::len).sum()
    }

    /// Posts them; returns the samples sent.
    pub(super) async fn send(self, client: &reqwest::Client, address: SocketAddr) -> anyhow::Result<usize> {
        let url: Arc<str> = format!("http://{address}/api/v1/write").into();
        let done = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for requests in self.shards {
            let (client, url, done) = (client.clone(), Arc::clone(&url), Arc::clone(&done));
            tasks.spawn(async move {
                for body in requests {
                    let request = client
                        .post(&*url)
                        .header("Content-Encoding", "snappy")
                        .header("Content-Type", "application/x-protobuf")
                        .header("X-Prometheus-Remote-Write-Version", "0.1.0");
                    let response = request.body(body).send().await?;
                    let status = response.status();
                    ensure!(status.is_success(), "{url} answers {status}: {}", response.text().await?);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        while let Some(shard) = tasks.join_next().await {
            shard??;
        }
        Ok(self.samples)
    }
}

/// A host as a stream of protobuf.
struct Source {
    host: Host,
    labels: Vec<Vec<u8>>,
    values: Vec<f64>,
}

impl Source {
    fn new(host: usize) -> Self {
        let labels = (0..SERIES_PER_HOST).map(|i| encoded_labels(host, i)).collect();
        Self { host: Host::new(host), labels, values: Vec::new() }
    }

    /// The next tick.
    fn put(&mut self, at: i64, body: &mut Vec<u8>) {
        self.host.tick(&mut self.values);
        for (labels, value) in self.labels.iter().zip(&self.values) {
            let mut sample = vec![0x09];
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(0x10);
            varint::put(&mut sample, at as u64);
            let mut series = labels.clone();
            field(&mut series, 0x12, &sample);
            field(body, 0x0a, &series);
        }
    }
}

fn encoded_labels(host: usize, i: usize) -> Vec<u8> {
    let mut labels = Host::labels(i).map(|(name, value)| (name.to_owned(), value)).to_vec();
    labels.push(("instance".to_owned(), format!("bench-{host}")));
    labels.push(("job".to_owned(), "node".to_owned()));
    labels.sort();
    let mut out = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        field(&mut label, 0x0a, name.as_bytes());
        field(&mut label, 0x12, value.as_bytes());
        field(&mut out, 0x0a, &label);
    }
    out
}

/// A length-delimited protobuf field.
fn field(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    varint::put(out, content.len() as u64);
    out.extend_from_slice(content);
}
