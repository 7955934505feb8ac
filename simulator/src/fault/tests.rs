//! Plans: parameters stay in the ranges of their purpose, and parts of a scenario are apart.

use super::parameters::{DELAY_MS, DURATION, FAILING, PEER_DELAY_MS, THREADS, TRIGGER_FACTOR};
use super::*;
use crate::fault::plan::FaultChoice;
use crate::purpose::Purpose;
use crate::random::SECOND;
use crate::world::{self, World};

const PERIOD: Period = Period { start: 1_000_000 * SECOND, end: 1_001_800 * SECOND };

fn plan(purpose: Purpose, seed: u64) -> (World, Plan) {
    let mut world = world::build(purpose, seed);
    let plan = Plan::new(&mut world, &FaultChoice::Random, true, PERIOD, 5.0);
    (world, plan)
}

#[test]
fn parameters_of_faults_are_those_of_the_purpose() {
    for purpose in Purpose::ALL {
        let mut checked = 0;
        for seed in 0..200 {
            for fault in plan(purpose, seed).1.faults {
                let seconds = (fault.end - fault.onset) as f64 / SECOND as f64;
                assert_eq!(DURATION.owner(seconds), purpose, "{fault:?}");
                let owner = match fault.mechanism {
                    Mechanism::Delay { millis, .. } => DELAY_MS.owner(millis),
                    Mechanism::Deployment { harm: Harm::Delay { millis }, .. } => DELAY_MS.owner(millis),
                    Mechanism::Flag { harm: Harm::Delay { millis }, .. } => DELAY_MS.owner(millis),
                    Mechanism::Throw { share, .. } => FAILING.owner(share),
                    Mechanism::Deployment { harm: Harm::Throw { share }, .. } => FAILING.owner(share),
                    Mechanism::Flag { harm: Harm::Throw { share }, .. } => FAILING.owner(share),
                    Mechanism::Stress { threads, .. } | Mechanism::Burn { threads, .. } => THREADS.owner(threads),
                    Mechanism::SlowPeer { millis, .. } => PEER_DELAY_MS.owner(millis),
                    Mechanism::Storm { factor, .. } => TRIGGER_FACTOR.owner(factor),
                    Mechanism::Leak { .. } | Mechanism::Drain { .. } => continue,
                };
                assert_eq!(owner, purpose, "{fault:?}");
                checked += 1;
            }
        }
        assert!(checked > 120, "{checked}");
    }
}

#[test]
fn a_fault_grows_to_its_full_strength_and_ends_at_once() {
    let mechanism = Mechanism::SlowPeer { peer: 0, millis: 100.0 };
    let fault = Fault { kind: FaultKind::SlowDependency, onset: 100, end: 200, ramp: 50, mechanism, change: None };
    let at = [99, 100, 125, 150, 199, 200].map(|at| fault.intensity(at));
    assert_eq!(at, [0.0, 0.0, 0.5, 1.0, 1.0, 0.0]);
}

#[test]
fn decoys_are_not_at_what_is_at_fault() {
    let mut changes = 0;
    for seed in 0..100 {
        let (_, plan) = plan(Purpose::Evaluation, seed);
        let of_faults: Vec<usize> = plan.faults.iter().filter_map(|fault| fault.change).collect();
        let harmless: Vec<usize> = (0..plan.changes.len()).filter(|index| !of_faults.contains(index)).collect();
        for fault in &plan.faults {
            let (Mechanism::Throw { service, .. } | Mechanism::Deployment { service, .. }) = fault.mechanism else {
                continue;
            };
            assert!(harmless.iter().all(|&index| plan.changes[index].service != service), "seed {seed}");
        }
        changes += harmless.len();
    }
    assert!(changes > 50, "{changes}");
}
