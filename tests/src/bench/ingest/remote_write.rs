//! The same load as Prometheus remote write 1.0: protobuf in snappy, 500 series to a request, one connection.

use std::net::SocketAddr;

use anyhow::ensure;
use watchfire_shared::frame::varint;

use super::load::{HOSTS, Host, Load, SERIES_PER_HOST};

/// All requests of the load, compressed, made before the clock starts.
pub(super) fn requests(load: &Load) -> Vec<Vec<u8>> {
    let mut hosts: Vec<Host> = (0..HOSTS).map(Host::new).collect();
    let labels: Vec<Vec<Vec<u8>>> =
        (0..HOSTS).map(|host| (0..SERIES_PER_HOST).map(|i| encoded_labels(host, i)).collect()).collect();
    let mut encoder = snap::raw::Encoder::new();
    let mut values = Vec::new();
    let mut out = Vec::new();
    for step in 0..load.steps {
        for (host, labels) in hosts.iter_mut().zip(&labels) {
            host.tick(&mut values);
            let mut body = Vec::new();
            for (labels, value) in labels.iter().zip(&values) {
                let mut sample = vec![0x09];
                sample.extend_from_slice(&value.to_le_bytes());
                sample.push(0x10);
                varint::put(&mut sample, load.time(step) as u64);
                let mut series = labels.clone();
                field(&mut series, 0x12, &sample);
                field(&mut body, 0x0a, &series);
            }
            out.push(encoder.compress_vec(&body).unwrap_or_default());
        }
    }
    out
}

/// Posts them one after the other; returns the samples sent.
pub(super) async fn send(
    client: &reqwest::Client,
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
) -> anyhow::Result<usize> {
    let samples = requests.len() * SERIES_PER_HOST;
    let url = format!("http://{address}/api/v1/write");
    for body in requests {
        let response = client
            .post(&url)
            .header("Content-Encoding", "snappy")
            .header("Content-Type", "application/x-protobuf")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .body(body)
            .send()
            .await?;
        ensure!(response.status().is_success(), "Prometheus answers {}", response.status());
    }
    Ok(samples)
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
