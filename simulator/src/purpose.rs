//! What a scenario is for. Calibration and evaluation must have nothing in common, so that what was fitted on one
//! can be judged on the other: each purpose has its own seeds, words, families of topologies and ranges of
//! parameters.

use crate::random::split_mix;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// What a scenario is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Fitting thresholds and confidence.
    Calibration,
    /// Judging what was fitted.
    Evaluation,
    /// Showing.
    Demo,
}

/// How services of a topology are connected. Each family belongs to one purpose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Four or five layers; calls lead to the next layer.
    Tiers,
    /// A wide middle over few services that many share.
    Diamond,
    /// One entry point that fans out to everything.
    Fan,
    /// Six to eight layers with few calls from each service.
    Chain,
    /// One or two services that nearly every request passes.
    Hub,
    /// Calls that skip layers, several callers for most operations.
    Mesh,
    /// A gateway before two layers.
    Gateway,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Purpose; 3] = [Purpose::Calibration, Purpose::Evaluation, Purpose::Demo];

    /// What all random numbers of a scenario derive from: its two highest bits are the purpose's.
    pub(crate) fn key(self, seed: u64) -> u64 {
        split_mix(seed) >> 2 | (self as u64) << 62
    }

    /// The families of topologies of this purpose.
    pub fn families(self) -> &'static [Family] {
        match self {
            Purpose::Calibration => &[Family::Tiers, Family::Diamond, Family::Fan],
            Purpose::Evaluation => &[Family::Chain, Family::Hub, Family::Mesh],
            Purpose::Demo => &[Family::Gateway],
        }
    }
}

const BANDS_EACH: usize = 3;
const BANDS: usize = 3 * BANDS_EACH;

/// The whole range of a parameter, cut into nine bands that the purposes take in turn: so all of them see small and
/// large values, and no two of them the same value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    pub(crate) const fn linear(low: f64, high: f64) -> Self {
        Scale { low, high, logarithmic: false }
    }

    /// Bands of equal ratio; `low` is above 0.
    pub(crate) const fn logarithmic(low: f64, high: f64) -> Self {
        Scale { low, high, logarithmic: true }
    }

    /// A value from one of the purpose's bands.
    pub(crate) fn draw(&self, purpose: Purpose, rng: &mut impl Rng) -> f64 {
        let band = purpose as usize + 3 * rng.random_range(0..BANDS_EACH);
        // Away from the edges: rounding to nanoseconds must not lead into the neighbour's band.
        self.at((band as f64 + rng.random_range(0.01..0.99)) / BANDS as f64)
    }

    /// The purpose whose band holds a value.
    #[cfg(test)]
    pub(crate) fn owner(&self, value: f64) -> Purpose {
        let place = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        Purpose::ALL[(place * BANDS as f64) as usize % 3]
    }

    fn at(&self, place: f64) -> f64 {
        if self.logarithmic {
            self.low * (self.high / self.low).powf(place)
        } else {
            self.low + (self.high - self.low) * place
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::stream;
    use std::collections::HashSet;

    #[test]
    fn purposes_have_no_seed_in_common() {
        let keys: HashSet<u64> =
            Purpose::ALL.iter().flat_map(|purpose| (0..1000).map(|seed| purpose.key(seed))).collect();
        assert_eq!(keys.len(), 3000);
        for purpose in Purpose::ALL {
            assert!((0..1000).all(|seed| purpose.key(seed) >> 62 == purpose as u64));
        }
    }

    #[test]
    fn a_value_of_one_purpose_is_never_one_of_another() {
        let mut rng = stream(1, 1);
        for scale in [Scale::linear(120.0, 600.0), Scale::logarithmic(80.0, 2500.0)] {
            for purpose in Purpose::ALL {
                let values: Vec<f64> = (0..2000).map(|_| scale.draw(purpose, &mut rng)).collect();
                assert!(values.iter().all(|&value| scale.owner(value) == purpose));
                // Each purpose sees small and large values.
                let middle = (scale.low * scale.high).sqrt();
                let small = values.iter().filter(|&&value| value < middle).count();
                assert!((200..1800).contains(&small), "{purpose:?} {small}");
            }
        }
    }
}
