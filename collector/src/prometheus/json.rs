//! Results of queries as JSON: what a dashboard asks for most often, written straight into one buffer.

use watchfire_promql::{PointSeries, Value};
use watchfire_shared::labels::Labels;
use watchfire_shared::sample::Sample;

use super::number;

/// An answer, bytes. The samples of the largest permitted query fit; labels a megabyte each do not.
const MAX_ANSWER_BYTES: usize = 384 << 20;
/// Where points are written before they go into the answer: small enough to stay close to the processor.
const ROOM_BYTES: usize = 8 << 10;
/// The most that a point takes: its time and its value, and what stands around them.
const MAX_POINT_BYTES: usize = 2 * number::MAX_BYTES;

/// The answer would be longer than any client should have to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Writes `"resultType":...,"result":...`; a scalar or text was evaluated at `at_millis`.
pub(super) fn result(value: &Value, at_millis: i64, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let named = |kind: &str, out: &mut Vec<u8>| {
        out.extend_from_slice(b"\"resultType\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"result\":");
    };
    match value {
        Value::Scalar(value) => {
            named("scalar", out);
            single(at_millis, *value, out);
        }
        Value::String(value) => {
            named("string", out);
            out.push(b'[');
            let mut room = [0; number::MAX_BYTES];
            let length = number::seconds(at_millis, &mut room);
            out.extend_from_slice(&room[..length]);
            out.push(b',');
            text(value, out);
            out.push(b']');
        }
        Value::Vector(samples) => {
            named("vector", out);
            list(samples, out, sample)?;
        }
        Value::Matrix(series) => {
            named("matrix", out);
            let samples: usize = series.iter().map(|series| series.points.len()).sum();
            // About what a point takes, so that the buffer grows once and not by halves.
            out.reserve((samples * 28).min(MAX_ANSWER_BYTES));
            let mut points = Points::default();
            list(series, out, |series, out| points.put(series, out))?;
        }
    }
    Ok(())
}

fn list<T>(items: &[T], out: &mut Vec<u8>, mut write: impl FnMut(&T, &mut Vec<u8>)) -> Result<(), TooLong> {
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out);
        if out.len() > MAX_ANSWER_BYTES {
            return Err(TooLong);
        }
    }
    out.push(b']');
    Ok(())
}

fn sample(sample: &Sample, out: &mut Vec<u8>) {
    metric(&sample.labels, out);
    out.extend_from_slice(b",\"value\":");
    single(sample.at.as_millis(), sample.value, out);
    out.push(b'}');
}

/// How a point begins, `,[1435781430.781,"`: those of the next series most often have the same times.
struct Head {
    millis: i64,
    text: [u8; number::MAX_BYTES],
    length: usize,
}

impl Head {
    fn of(millis: i64) -> Self {
        let mut text = [0; number::MAX_BYTES];
        text[..2].copy_from_slice(b",[");
        let end = 2 + number::seconds(millis, &mut text[2..]);
        text[end..end + 2].copy_from_slice(b",\"");
        Self { millis, text, length: end + 2 }
    }
}

/// Writes the points of series after series.
struct Points {
    heads: Vec<Head>,
    room: Box<[u8; ROOM_BYTES]>,
}

impl Default for Points {
    fn default() -> Self {
        Self { heads: Vec::new(), room: Box::new([0; ROOM_BYTES]) }
    }
}

impl Points {
    fn put(&mut self, series: &PointSeries, out: &mut Vec<u8>) {
        metric(&series.labels, out);
        out.extend_from_slice(b",\"values\":[");
        // The first point has no comma before it.
        let (mut from, mut used) = (1, 0);
        for (at, (millis, value)) in series.points.iter().enumerate() {
            if self.heads.get(at).is_none_or(|head| head.millis != *millis) {
                self.heads.truncate(at);
                self.heads.push(Head::of(*millis));
            }
            if used + MAX_POINT_BYTES > ROOM_BYTES {
                out.extend_from_slice(&self.room[from..used]);
                (from, used) = (0, 0);
            }
            used += point(&self.heads[at], *value, &mut self.room[used..used + MAX_POINT_BYTES]);
        }
        out.extend_from_slice(&self.room[from.min(used)..used]);
        out.extend_from_slice(b"]}");
    }
}

fn metric(labels: &Labels, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"metric\":{");
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        text(name, out);
        out.push(b':');
        text(value, out);
    }
    out.push(b'}');
}

fn text(text: &str, out: &mut Vec<u8>) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a text can be written to memory");
    }
}

/// Writes `,[1435781430.781,"1"]`, and tells its length.
#[inline]
fn point(head: &Head, value: f64, room: &mut [u8]) -> usize {
    // The whole text, whatever it holds: a length that is known costs no call.
    room[..number::MAX_BYTES].copy_from_slice(&head.text);
    let end = head.length + number::value(value, &mut room[head.length..]);
    room[end..end + 2].copy_from_slice(b"\"]");
    end + 2
}

/// Writes `[1435781430.781,"1"]`.
fn single(millis: i64, value: f64, out: &mut Vec<u8>) {
    let mut room = [0; MAX_POINT_BYTES];
    let length = point(&Head::of(millis), value, &mut room);
    out.extend_from_slice(&room[1..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_series_has_its_own_times() {
        let series = |points: &[(i64, f64)]| PointSeries { labels: Labels::default(), points: points.to_vec() };
        let all = [
            series(&[(1000, 1.0), (2500, 2.0), (4000, 3.0)]),
            series(&[(1000, 1.0), (3000, 2.0)]),
            series(&[(1000, 1.0), (3000, 2.0), (4000, 3.0)]),
        ];
        let mut out = Vec::new();
        result(&Value::Matrix(all.to_vec()), 0, &mut out).unwrap();
        let expected = r#""resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2.500,"2"],[4,"3"]]},{"metric":{},"values":[[1,"1"],[3,"2"]]},{"metric":{},"values":[[1,"1"],[3,"2"],[4,"3"]]}]"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
