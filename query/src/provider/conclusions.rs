//! Rows of `incidents` and `log_templates`, from what the store keeps of them.

use super::user_columns::{arrow_schema, incident_columns, log_template_columns};
use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Float32Array, Float64Array, Int64Array, ListBuilder, StringViewArray,
    StringViewBuilder, TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use whence_schema::UnixNanos;
use whence_storage::{Incident, LogTemplate};

/// As `incidents` shows them.
pub(crate) fn incident_rows(incidents: &[Incident]) -> Result<RecordBatch, ArrowError> {
    let texts = |of: fn(&Incident) -> Option<&str>| -> ArrayRef {
        Arc::new(incidents.iter().map(of).collect::<StringViewArray>())
    };
    let mut affected = ListBuilder::new(StringViewBuilder::new());
    for incident in incidents {
        affected.append_value(incident.affected.iter().map(Some));
    }
    let confidences: Float32Array = incidents.iter().map(|incident| incident.confidence).collect();
    let columns: Vec<ArrayRef> = vec![
        uuids(incidents.iter().map(|incident| Some(incident.id)))?,
        times(incidents.iter().map(|incident| Some(incident.opened))),
        times(incidents.iter().map(|incident| incident.closed)),
        Arc::new(Float64Array::from_iter_values(incidents.iter().map(|incident| incident.severity))),
        texts(|incident| Some(&incident.title)),
        texts(|incident| incident.asset.as_deref()),
        texts(|incident| incident.cause_kind.as_deref()),
        Arc::new(confidences),
        Arc::new(affected.finish()),
        uuids(incidents.iter().map(|incident| incident.first_symptom.map(|id| id.0)))?,
        texts(|incident| Some(&incident.explanation)),
        times(incidents.iter().map(|incident| Some(incident.updated_at))),
    ];
    RecordBatch::try_new(arrow_schema(&incident_columns()), columns)
}

/// As `log_templates` shows them.
pub(crate) fn log_template_rows(templates: &[LogTemplate]) -> Result<RecordBatch, ArrowError> {
    let texts = |of: fn(&LogTemplate) -> &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(templates.iter().map(of)))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(templates.iter().map(|template| template.id))),
        texts(|template| &template.asset),
        texts(|template| &template.text),
        times(templates.iter().map(|template| Some(template.first_seen))),
        times(templates.iter().map(|template| Some(template.last_seen))),
    ];
    RecordBatch::try_new(arrow_schema(&log_template_columns()), columns)
}

fn uuids(ids: impl ExactSizeIterator<Item = Option<u128>>) -> Result<ArrayRef, ArrowError> {
    let mut out = FixedSizeBinaryBuilder::with_capacity(ids.len(), 16);
    for id in ids {
        match id {
            Some(id) => out.append_value(id.to_be_bytes())?,
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn times(times: impl Iterator<Item = Option<UnixNanos>>) -> ArrayRef {
    let micros: TimestampMicrosecondArray = times.map(|time| time.map(UnixNanos::micros)).collect();
    Arc::new(micros.with_timezone("UTC"))
}
