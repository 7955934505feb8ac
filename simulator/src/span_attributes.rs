//! span_attributes
