//! Results of queries as JSON: what a dashboard asks for most often. A long one is given away in pieces while it is written.

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

/// How long a piece is at least. Large enough that sending it costs little, small enough for the buffers of others.
const PIECE_BYTES: usize = 128 << 10;

/// Why an answer was not written to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It would be longer than any client should have to read.
    TooLong,
    /// Nobody reads it any more.
    Unread,
}

/// Takes a piece, and says whether anybody reads it.
pub(super) type Taker<'s> = &'s mut dyn FnMut(Vec<u8>) -> bool;

/// Writes `"resultType":...,"result":...`; a scalar or text was evaluated at `at_millis`. What was not sent stays in `out`.
pub(super) fn result(value: &Value, at_millis: i64, out: &mut Vec<u8>, send: Taker<'_>) -> Result<(), Stopped> {
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
            list(samples, samples.len(), (out, send), sample)?;
        }
        Value::Matrix(series) => {
            named("matrix", out);
            let samples = series.iter().map(|series| series.points.len()).sum();
            let mut points = Points::default();
            list(series, samples, (out, send), |series, out| points.put(series, out))?;
        }
    }
    Ok(())
}

fn list<T>(
    items: &[T],
    samples: usize,
    (out, send): (&mut Vec<u8>, Taker<'_>),
    mut write: impl FnMut(&T, &mut Vec<u8>),
) -> Result<(), Stopped> {
    // One that may be too long must not begin to go.
    let in_pieces = samples.saturating_mul(MAX_POINT_BYTES) <= MAX_ANSWER_BYTES / 2;
    let mut sent = 0;
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out);
        if sent + out.len() > MAX_ANSWER_BYTES {
            return Err(Stopped::TooLong);
        }
        if in_pieces && out.len() >= PIECE_BYTES {
            let piece = std::mem::replace(out, Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 8));
            sent += piece.len();
            if !send(piece) {
                return Err(Stopped::Unread);
            }
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
        result(&Value::Matrix(all.to_vec()), 0, &mut out, &mut |_| panic!("the answer is short")).unwrap();
        let expected = r#""resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2.500,"2"],[4,"3"]]},{"metric":{},"values":[[1,"1"],[3,"2"]]},{"metric":{},"values":[[1,"1"],[3,"2"],[4,"3"]]}]"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
    #[test]
    fn long_answers_go_in_pieces() {
        let points: Vec<_> = (0..1000).map(|at| (at * 1000, at as f64 / 8.0)).collect();
        let all = vec![PointSeries { labels: Labels::new([("a", "b")]), points }; 100];
        let (mut pieces, mut rest) = (Vec::new(), Vec::new());
        result(&Value::Matrix(all.clone()), 0, &mut rest, &mut |piece| {
            pieces.push(piece);
            true
        })
        .unwrap();
        assert!(pieces.len() > 5 && pieces.iter().all(|piece| (PIECE_BYTES..2 * PIECE_BYTES).contains(&piece.len())));
        pieces.push(rest);
        let text = String::from_utf8(pieces.concat()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&format!("{{{text}}}")).unwrap();
        let values = json["result"][99]["values"].as_array().unwrap();
        assert_eq!((values.len(), &values[999]), (1000, &serde_json::json!([999, "124.875"])));
        let stopped = result(&Value::Matrix(all), 0, &mut Vec::new(), &mut |_| false);
        assert_eq!(stopped, Err(Stopped::Unread));
    }
}
