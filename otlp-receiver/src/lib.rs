//! otlp-receiver
