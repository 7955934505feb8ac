//! What a finding says, for people.

use super::blame::{Charge, Proof};
use super::causes::CauseKind;
use super::delays::Delayed;
use super::findings::{Finding, What};
use super::observations::Observations;
use super::series::Shift;
use super::study::{Shown, Study};
use super::traces::{Symbol, Traces};
use std::fmt::Display;

/// Characters of a message that a sentence repeats.
const MOST_CHARACTERS: usize = 120;

/// What kind of cause a finding speaks for.
pub(super) fn kind(traces: &Traces, finding: &Finding) -> CauseKind {
    match finding.what {
        What::Step { next, .. } if traces.is_trouble(next) => CauseKind::Errors,
        What::Step { .. } => CauseKind::Logs,
        What::Slow { .. } => CauseKind::Latency,
    }
}

/// What speaks against an asset in a few words, as the title of an incident.
pub(super) fn title(study: &Study<'_>, shown: &Shown, charge: &Charge) -> String {
    let seen = study.observations;
    let name = |names: &[String], index: u32| names.get(index as usize).cloned().unwrap_or_default();
    let (asset, operation) = (|index| name(&seen.assets, index), |index| name(&seen.operations, index));
    let finding = match charge.proof {
        Proof::Finding(finding) => &shown.findings[finding as usize],
        Proof::Shift(shift) => {
            let shift = &shown.shifts[shift as usize];
            return shift_title(&name(&seen.metrics, shift.metric), &asset(shift.asset));
        }
    };
    match finding.what {
        What::Step { context, .. } if context.asset != charge.asset => {
            format!("calls from {} to {} fail", asset(context.asset), asset(charge.asset))
        }
        What::Step { context, .. } => {
            let fails = matches!(kind(&study.traces, finding), CauseKind::Errors);
            step_title(&operation(context.operation), &asset(context.asset), fails)
        }
        What::Slow { delayed, .. } => delay_title(delayed, asset, operation),
    }
}

/// That a step of an operation is taken more often.
pub(super) fn step_title(operation: &str, asset: &str, fails: bool) -> String {
    let verb = if fails { "fails" } else { "does something else" };
    format!("{operation} in {asset} {verb}")
}

/// That something takes longer.
pub(super) fn delay_title<T: Display>(
    delayed: Delayed,
    asset: impl Fn(u32) -> T,
    operation: impl Fn(u32) -> T,
) -> String {
    match delayed {
        Delayed::Own { asset: of, operation: work } => format!("{} in {} is slow", operation(work), asset(of)),
        Delayed::Call { caller, callee, .. } | Delayed::Edge { caller, callee } => {
            format!("calls from {} to {} are slow", asset(caller), asset(callee))
        }
    }
}

/// That a metric is elsewhere.
pub(super) fn shift_title(metric: &str, asset: &str) -> String {
    format!("{metric} of {asset} left its range")
}

/// What speaks against an asset as one sentence with figures.
pub(super) fn sentence(study: &Study<'_>, shown: &Shown, charge: &Charge) -> String {
    match charge.proof {
        Proof::Finding(finding) => {
            let finding = &shown.findings[finding as usize];
            let found = found(study.observations, &study.traces, finding);
            let called = study.observations.assets.get(charge.asset as usize);
            // A call in vain speaks against its callee, which the caller's spans do not name.
            match (finding.what, called) {
                (What::Step { context, .. }, Some(called)) if context.asset != charge.asset => {
                    format!("{found}; they call {called}")
                }
                _ => found,
            }
        }
        Proof::Shift(shift) => shifted(study.observations, &shown.shifts[shift as usize]),
    }
}

fn shifted(observations: &Observations, shift: &Shift) -> String {
    let name = |names: &[String], index: u32| names.get(index as usize).cloned().unwrap_or_default();
    let (metric, asset) = (name(&observations.metrics, shift.metric), name(&observations.assets, shift.asset));
    format!("{metric} of {asset} is {}, {} before", value(shift.now), value(shift.before))
}

fn found(observations: &Observations, traces: &Traces, finding: &Finding) -> String {
    let name = |names: &[String], index: u32| names.get(index as usize).cloned().unwrap_or_default();
    let asset = |index: u32| name(&observations.assets, index);
    let operation = |index: u32| name(&observations.operations, index);
    let (now, before) = (percent(finding.rise.now), percent(finding.rise.before));
    match finding.what {
        What::Step { context, next } => {
            let (asset, of) = (asset(context.asset), operation(context.operation));
            let after = match context.previous {
                Symbol::START => String::new(),
                previous => format!(" after {}", symbol(observations, traces, previous)),
            };
            match next {
                Symbol::FAILED => format!("{now} of the spans of {of} in {asset} fail{after}, {before} before"),
                Symbol::END => format!("{now} of the spans of {of} in {asset} end{after}, {before} before"),
                next => {
                    let next = symbol(observations, traces, next);
                    format!("{now} of the spans of {of} in {asset} go on with {next}{after}, {before} before")
                }
            }
        }
        What::Slow { delayed, limit } => {
            let limit = duration(limit);
            match delayed {
                Delayed::Own { asset: of, operation: work } => {
                    let (of, work) = (asset(of), operation(work));
                    format!("{now} of the spans of {work} in {of} take more than {limit} themselves, {before} before")
                }
                Delayed::Call { caller, callee, operation: work } => {
                    let (caller, callee, work) = (asset(caller), asset(callee), operation(work));
                    format!(
                        "{now} of the calls of {work} from {caller} to {callee} take more than {limit} on the way, {before} before"
                    )
                }
                Delayed::Edge { caller, callee } => {
                    let (caller, callee) = (asset(caller), asset(callee));
                    format!(
                        "{now} of the calls from {caller} to {callee} take more than {limit} on the way, {before} before"
                    )
                }
            }
        }
    }
}

fn symbol(observations: &Observations, traces: &Traces, symbol: Symbol) -> String {
    if let Some(template) = symbol.as_template() {
        let text = traces.logs.templates.text(template);
        let cut: String = text.chars().take(MOST_CHARACTERS).collect();
        return format!("the message '{cut}'");
    }
    match symbol.as_child() {
        Some(child) => observations.operations.get(child as usize).cloned().unwrap_or_default(),
        None => String::new(),
    }
}

/// A value with three or four digits that matter.
fn value(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 10.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// A duration in the unit that people would use.
fn duration(nanos: u64) -> String {
    let millis = nanos as f64 / 1e6;
    match millis {
        millis if millis >= 10_000.0 => format!("{:.0} s", millis / 1e3),
        millis if millis >= 1_000.0 => format!("{:.1} s", millis / 1e3),
        millis if millis >= 10.0 => format!("{millis:.0} ms"),
        millis => format!("{millis:.1} ms"),
    }
}
