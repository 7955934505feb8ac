//! Numbers on how well links and causes are found: the rows of `whence.correlation_quality`.

use crate::confidence::{LinkCalibration, calibration, link_calibration};
use crate::error::CorrelatorError;
use crate::functions::batch;
use crate::statistics::CorrelatorStatistics;
use arrow::array::{ArrayRef, Float64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::sync::{Arc, LazyLock};
use whence_schema::Relation;

/// Columns of [`correlation_quality`]. `value` is null where it is not known.
pub fn correlation_quality_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("name", DataType::Utf8, false),
            Field::new("value", DataType::Float64, true),
            Field::new("description", DataType::Utf8, false),
        ]))
    });
    SCHEMA.clone()
}

/// Counts of the whole process, which are sums over all tenants and tell of none, and what is known of the calibration of
/// confidence.
///
/// # Errors
///
/// Never, unless the columns are not those of the schema.
pub fn correlation_quality(statistics: &CorrelatorStatistics) -> Result<RecordBatch, CorrelatorError> {
    let rows = quality(statistics);
    let texts = |of: fn(&Quality) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(of))) };
    let values: Float64Array = rows.iter().map(|row| row.value).collect();
    let columns = vec![texts(|row| &row.name), Arc::new(values) as ArrayRef, texts(|row| &row.description)];
    batch("correlation_quality", correlation_quality_schema(), columns)
}

/// A number; `None` is not known.
struct Quality {
    name: String,
    value: Option<f64>,
    description: String,
}

/// A count of the whole process.
fn count(name: &str, value: u64, description: &str) -> Quality {
    Quality { name: name.to_owned(), value: Some(value as f64), description: format!("{description}, of all tenants") }
}

/// What is said where confidence is not calibrated.
const UNCALIBRATED: &str = "uncalibrated";

/// What `whence eval --calibrate` found.
fn calibrated(name: &str, value: Option<f64>, description: &str) -> Quality {
    let description = if value.is_some() { description } else { UNCALIBRATED };
    Quality { name: name.to_owned(), value, description: description.to_owned() }
}

/// The rows, one a line.
fn quality(of: &CorrelatorStatistics) -> Vec<Quality> {
    let links =
        |relation: &Relation| count(&format!("links_{relation}"), of.links(*relation), "links stored since the start");
    let mut rows: Vec<Quality> = Relation::ALL.iter().map(links).collect();
    let known = calibration();
    let watch = of.watch();
    rows.extend([
        count("window_spans", of.window_spans(), "spans in the window now"),
        count("evicted_spans", of.evicted_spans(), "spans that left the window since the start"),
        count(
            "repeated_spans",
            of.repeated_spans(),
            "spans that came again since the start, and were not linked again",
        ),
        count("waiting_ends", of.pending_ends(), "ends that wait for a span now"),
        count("dropped_ends", of.dropped_ends(), "waiting ends dropped for want of memory since the start"),
        count("unsaved_ends", of.unsaved_ends(), "waiting ends that would be lost with a restart now"),
        count("looked_up_spans", of.looked_up_spans(), "spans looked up in the store since the start"),
        count("found_spans", of.found_spans(), "spans found by looking up since the start"),
        count("lookup_failures", of.lookup_failures(), "look-ups the store did not answer since the start"),
        count("lag_nanoseconds", of.lag_nanos(), "nanoseconds from accepting to linking of the last batch"),
        count("watch_tests", watch.tests(), "comparisons with the hour before, of the last half minute"),
        count("watch_slots", watch.slots(), "half minutes read since the start"),
        count("watch_thinned_slots", watch.thinned_slots(), "half minutes of which not all traces were read"),
        count("watch_late_slots", watch.late_slots(), "times that events came too late to count"),
        count("watch_skipped_slots", watch.skipped_slots(), "half minutes that were not read"),
        count("watch_minutes", watch.minutes(), "minutes of metric points read since the start"),
        count("watch_evicted_slots", watch.evicted_slots(), "half minutes forgotten for want of memory"),
        count("watch_evicted_minutes", watch.evicted_minutes(), "minutes of metric points forgotten likewise"),
        count("watch_evicted_names", watch.evicted_names(), "names forgotten likewise, those not in use"),
        count("watch_evicted_templates", watch.evicted_templates(), "log templates forgotten likewise"),
        count("watch_dropped_entries", watch.dropped_entries(), "steps, delays, names and messages too many to count"),
        count("watch_hours", watch.hours(), "full hours whose links were stored since the start"),
        count("watch_thinned_hours", watch.thinned_hours(), "full hours of which not all traces were read"),
        count("watch_late_hours", watch.late_hours(), "full hours that came too late to have links"),
        count("watch_skipped_hours", watch.skipped_hours(), "full hours that could not be read"),
        count("lag_tests", watch.lag_tests(), "tests of what follows what over a day, of the last hour"),
        count("lag_discoveries", watch.lag_discoveries(), "pairs of which one follows on the other, of the last hour"),
        count("onsets", watch.onsets(), "onsets of trouble kept since the start"),
        count("evicted_onsets", watch.evicted_onsets(), "onsets of trouble that were too many to be kept for a day"),
        count("incidents_opened", watch.opened(), "incidents opened since the start"),
        count("incidents_closed", watch.closed(), "incidents closed since the start"),
        calibrated(
            "calibration_made_at",
            known.made_at.map(|at| at.0 as f64 / 1e9),
            "when confidence was calibrated, seconds since 1970",
        ),
        calibrated(
            "calibration_faults",
            known.faults.map(|faults| faults as f64),
            "simulated faults it was calibrated on",
        ),
        calibrated(
            "calibration_quiet",
            known.quiet.map(|quiet| quiet as f64),
            "times without a fault it was calibrated on",
        ),
        calibrated(
            "calibration_brier",
            known.brier,
            "Brier score of first answers in two-fold cross-validation: 0 is best",
        ),
        calibrated(
            "calibration_error",
            known.expected_calibration_error,
            "expected calibration error of first answers in ten bins, in two-fold cross-validation: 0 is best",
        ),
    ]);
    for relation in [Relation::Lag, Relation::Change] {
        let known = link_calibration(relation);
        let value = |of: fn(LinkCalibration) -> Option<f64>| known.and_then(of);
        rows.extend([
            calibrated(
                &format!("calibration_{relation}_links"),
                value(|known| Some(known.judged as f64)),
                "links found in simulated systems, on which confidence of that relation was calibrated",
            ),
            calibrated(
                &format!("calibration_{relation}_brier"),
                value(|known| known.brier),
                "Brier score of confidence of that relation in two-fold cross-validation: 0 is best",
            ),
            calibrated(
                &format!("calibration_{relation}_error"),
                value(|known| known.expected_calibration_error),
                "expected calibration error of that relation in ten bins, in two-fold cross-validation: 0 is best",
            ),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Float64Type;

    #[test]
    fn every_number_has_a_name_of_its_own_and_one_that_is_not_known_says_so() {
        let rows = correlation_quality(&CorrelatorStatistics::default()).unwrap();
        let (names, values) = (rows.column(0).as_string::<i32>(), rows.column(1).as_primitive::<Float64Type>());
        let mut sorted: Vec<&str> = names.iter().flatten().collect();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), rows.num_rows());
        for row in 0..rows.num_rows() {
            let description = rows.column(2).as_string::<i32>().value(row);
            assert_eq!(values.is_null(row), description == UNCALIBRATED, "{}", names.value(row));
        }
        let value = |name| names.iter().position(|known| known == Some(name)).map(|row| values.value(row));
        assert_eq!((value("links_call"), value("waiting_ends")), (Some(0.0), Some(0.0)));
    }
}
