//! Points in time, with the unit in the type.

/// Width of the finest metric bucket, in nanoseconds (one minute).
pub const BUCKET_NANOS: i64 = 60_000_000_000;

/// Nanoseconds since 1970-01-01 00:00 UTC, signed so that arithmetic cannot wrap for any time OTLP can carry sensibly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// The system clock, now.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Whole microseconds, rounded down: what the `timestamp` columns hold.
    pub fn micros(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Nanoseconds below the microsecond (0 to 999): what the `timestamp_nanos` column holds.
    pub fn sub_micros(self) -> i16 {
        self.0.rem_euclid(1_000) as i16
    }

    /// Start of the metric bucket this point falls into.
    pub fn bucket(self) -> Self {
        Self(self.0 - self.0.rem_euclid(BUCKET_NANOS))
    }

    /// Start of the minute this point falls into, in seconds since the epoch: the ledger's key.
    pub fn minute_seconds(self) -> i64 {
        self.0.div_euclid(60_000_000_000) * 60
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_splits_into_micros_and_rest_also_before_1970() {
        for nanos in [0, 1, 999, 1_000, -1, -1_000, 1_674_981_669_123_456_789] {
            let time = UnixNanos(nanos);
            assert_eq!(time.micros() * 1_000 + i64::from(time.sub_micros()), nanos);
        }
    }

    #[test]
    fn buckets_start_on_the_minute() {
        assert_eq!(UnixNanos(61_000_000_000).bucket(), UnixNanos(60_000_000_000));
        assert_eq!(UnixNanos(-1).bucket(), UnixNanos(-60_000_000_000));
    }
}
