//! Network coordinates: where a member stands, so that the round-trip time between two members is the distance between them.
//!
//! Vivaldi (Dabek, Cox, Kaashoek, Morris, "Vivaldi: A Decentralized Network Coordinate System", SIGCOMM 2004) with the
//! height, adjustment and gravity of Serf (`serf/coordinate`, whose constants these are): eight dimensions, a height for
//! the way to the network's core, and an adjustment learnt from the last twenty measurements. Lengths are seconds.
//!
//! It measures nothing and sends nothing: it is told round-trip times and others' places, and moves.

use std::collections::VecDeque;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::identity::{Malformed, Reader};

const DIMENSIONS: usize = 8;
const ERROR_MAX: f64 = 1.5;
/// How much one measurement counts for the error and for the place.
const ERROR_GAIN: f64 = 0.25;
const PLACE_GAIN: f64 = 0.25;
const ADJUSTMENT_WINDOW: usize = 20;
const HEIGHT_MIN: f64 = 10e-6;
/// How far from the origin its pull equals one second, in seconds.
const GRAVITY_RHO: f64 = 150.0;
const ZERO: f64 = 1e-6;
/// Lengths travel as multiples of this, in 16 bits: up to a third of a second from the origin along each axis.
const STEP: f64 = 10e-6;
/// A round trip that takes longer says more about a queue than about a distance.
const LONGEST: f64 = 10.0;
/// Bytes of a place as it travels.
pub(crate) const PLACE_BYTES: usize = 2 * DIMENSIONS + 5;

/// Where a member stands.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Place {
    vector: [f64; DIMENSIONS],
    height: f64,
    adjustment: f64,
    error: f64,
}

/// A place as it travels, which is as exact as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PackedPlace([u8; PLACE_BYTES]);

impl From<&Place> for PackedPlace {
    fn from(place: &Place) -> Self {
        let mut bytes = Vec::with_capacity(PLACE_BYTES);
        place.put(&mut bytes);
        Self(bytes.try_into().expect("a place always takes the same bytes"))
    }
}

impl From<PackedPlace> for Place {
    fn from(packed: PackedPlace) -> Self {
        Self::read(&mut Reader::new(&packed.0)).expect("no bytes of this number are malformed")
    }
}

impl Default for Place {
    fn default() -> Self {
        Self { vector: [0.0; DIMENSIONS], height: HEIGHT_MIN, adjustment: 0.0, error: ERROR_MAX }
    }
}

impl Place {
    /// The estimated round-trip time to `other`, seconds.
    pub(crate) fn distance(&self, other: &Self) -> f64 {
        let raw = self.raw_distance(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { raw }
    }

    fn raw_distance(&self, other: &Self) -> f64 {
        magnitude(&difference(&self.vector, &other.vector)) + self.height + other.height
    }

    /// Moves away from `other` by `force` seconds, or towards it if that is negative.
    fn pushed(mut self, force: f64, other: &Self, rng: &mut StdRng) -> Self {
        let apart = difference(&self.vector, &other.vector);
        let far = magnitude(&apart);
        let direction = if far > ZERO { scaled(apart, 1.0 / far) } else { random_direction(rng) };
        for (own, step) in self.vector.iter_mut().zip(scaled(direction, force)) {
            *own += step;
        }
        if far > ZERO {
            self.height = ((self.height + other.height) * force / far + self.height).max(HEIGHT_MIN);
        }
        self
    }

    fn is_sound(&self) -> bool {
        let parts = self.vector.iter().chain([&self.height, &self.adjustment, &self.error]);
        parts.into_iter().all(|part| part.is_finite())
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let steps = |length: f64| ((length / STEP).round() as i16).to_le_bytes();
        self.vector.iter().for_each(|length| out.extend_from_slice(&steps(*length)));
        out.extend_from_slice(&((self.height / STEP).round() as u16).to_le_bytes());
        out.extend_from_slice(&steps(self.adjustment));
        out.push((self.error / ERROR_MAX * 255.0).round() as u8);
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let length = |bits: u16| f64::from(bits as i16) * STEP;
        let mut vector = [0.0; DIMENSIONS];
        for axis in &mut vector {
            *axis = length(reader.u16()?);
        }
        let height = f64::from(reader.u16()?).max(1.0) * STEP;
        let adjustment = length(reader.u16()?);
        Ok(Self { vector, height, adjustment, error: f64::from(reader.u8()?) / 255.0 * ERROR_MAX })
    }
}

/// The own place, as it is learnt.
#[derive(Debug, Default)]
pub(crate) struct Wanderer {
    place: Place,
    errors: VecDeque<f64>,
}

impl Wanderer {
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Learns that a round trip to somebody at `other` takes `seconds`.
    pub(crate) fn learn(&mut self, seconds: f64, other: &Place, rng: &mut StdRng) {
        if !(0.0..=LONGEST).contains(&seconds) {
            return;
        }
        let rtt = seconds.max(ZERO);
        let distance = self.place.distance(other);
        let wrong = (distance - rtt).abs() / rtt;
        let weight = self.place.error / (self.place.error + other.error).max(ZERO);
        let error = ERROR_GAIN * weight * wrong + self.place.error * (1.0 - ERROR_GAIN * weight);
        self.place.error = error.min(ERROR_MAX);
        let force = PLACE_GAIN * weight * (rtt - distance);
        self.place = self.place.pushed(force, other, rng);
        self.adjust(rtt - self.place.raw_distance(other));
        // Everybody drifts together otherwise.
        let origin = Place::default();
        let pull = (origin.distance(&self.place) / GRAVITY_RHO).powi(2);
        self.place = self.place.pushed(-pull, &origin, rng);
        if !self.place.is_sound() {
            *self = Self::default();
        }
    }

    fn adjust(&mut self, wrong_by: f64) {
        if self.errors.len() == ADJUSTMENT_WINDOW {
            self.errors.pop_front();
        }
        self.errors.push_back(wrong_by);
        self.place.adjustment = self.errors.iter().sum::<f64>() / (2.0 * ADJUSTMENT_WINDOW as f64);
    }
}

/// The last round-trip times to one member; their median stands for them, so that one delayed answer changes nothing.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct RoundTrips {
    /// Microseconds, the latest first; 0 for none.
    last: [u32; 3],
}

impl RoundTrips {
    pub(crate) fn add(&mut self, micros: u32) {
        self.last = [micros.max(1), self.last[0], self.last[1]];
    }

    /// Microseconds.
    pub(crate) fn median(&self) -> Option<u32> {
        let mut known = self.last;
        known.sort_unstable();
        let known = known.iter().position(|micros| *micros > 0).map_or(&known[3..], |first| &known[first..]);
        known.get(known.len() / 2).copied()
    }
}

fn difference(a: &[f64; DIMENSIONS], b: &[f64; DIMENSIONS]) -> [f64; DIMENSIONS] {
    std::array::from_fn(|axis| a[axis] - b[axis])
}

fn scaled(vector: [f64; DIMENSIONS], by: f64) -> [f64; DIMENSIONS] {
    vector.map(|length| length * by)
}

fn magnitude(vector: &[f64; DIMENSIONS]) -> f64 {
    vector.iter().map(|length| length * length).sum::<f64>().sqrt()
}

fn random_direction(rng: &mut StdRng) -> [f64; DIMENSIONS] {
    let vector: [f64; DIMENSIONS] = std::array::from_fn(|_| rng.random_range(-0.5..0.5));
    let far = magnitude(&vector);
    if far > ZERO { scaled(vector, 1.0 / far) } else { std::array::from_fn(|axis| if axis == 0 { 1.0 } else { 0.0 }) }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn places_learn_the_distances_of_a_network_with_three_sites() {
        // Sites at 0, 10 and 40 ms on a line, half a millisecond inside a site.
        let site = [0.0, 0.0, 0.0, 0.010, 0.010, 0.010, 0.040, 0.040, 0.040];
        let real = |a: usize, b: usize| f64::abs(site[a] - site[b]) + 0.0005;
        let mut rng = StdRng::seed_from_u64(1);
        let mut nodes: Vec<Wanderer> = site.iter().map(|_| Wanderer::default()).collect();
        for _ in 0..4000 {
            let (a, b) = (rng.random_range(0..9), rng.random_range(0..9));
            if a != b {
                let other = *nodes[b].place();
                nodes[a].learn(real(a, b) * rng.random_range(0.95..1.05), &other, &mut rng);
            }
        }
        let pairs = (0..9).flat_map(|a| (a + 1..9).map(move |b| (a, b)));
        let mut wrong: Vec<f64> =
            pairs.map(|(a, b)| (nodes[a].place().distance(nodes[b].place()) - real(a, b)).abs() / real(a, b)).collect();
        wrong.sort_by(f64::total_cmp);
        assert!(wrong[wrong.len() / 2] < 0.1, "{wrong:?}");
    }

    #[test]
    fn hostile_places_and_times_never_make_a_place_unsound() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut node = Wanderer::default();
        for _ in 0..10_000 {
            let bytes: Vec<u8> = (0..PLACE_BYTES).map(|_| rng.random()).collect();
            let other = Place::read(&mut Reader::new(&bytes)).unwrap();
            node.learn(rng.random_range(-1.0..20.0), &other, &mut rng);
            assert!(node.place().is_sound());
        }
        node.learn(f64::NAN, &Place::default(), &mut rng);
        assert!(node.place().is_sound());
    }

    #[test]
    fn places_travel_in_steps_of_ten_microseconds() {
        let place = Place {
            vector: [0.1, -0.2, 0.0, 1.0, -9.0, 0.00001, 0.3, 0.0],
            height: 0.002,
            adjustment: -0.001,
            error: 0.75,
        };
        let mut bytes = Vec::new();
        place.put(&mut bytes);
        assert_eq!(bytes.len(), PLACE_BYTES);
        let read = Place::read(&mut Reader::new(&bytes)).unwrap();
        assert!((read.vector[1] + 0.2).abs() < STEP && (read.vector[3] - 0.32767).abs() < STEP, "{read:?}");
        assert!((read.error - 0.75).abs() < 0.01 && (read.adjustment + 0.001).abs() < STEP);
        assert!(Place::read(&mut Reader::new(&bytes[1..])).is_err());
    }

    #[test]
    fn one_delayed_answer_does_not_change_a_round_trip_time() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.median(), None);
        for (micros, median) in [(300, 300), (310, 310), (90_000, 310), (305, 310), (306, 306)] {
            trips.add(micros);
            assert_eq!(trips.median(), Some(median));
        }
    }
}
