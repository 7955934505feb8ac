//! Functions whose answer depends on the moment or on chance, and `pg_sleep`.

use super::UUID;
use crate::error::QueryError;
use arrow::array::{AsArray, FixedSizeBinaryBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimeUnit};
use async_trait::async_trait;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::Duration;
use whence_schema::UnixNanos;
use whence_schema::tables::timestamp_type;

/// Longest `pg_sleep`.
const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    /// `gen_random_uuid()`: version 4.
    RandomUuid,
    /// `clock_timestamp()`: now, at each call.
    Clock,
    /// `local_timestamp()` behind LOCALTIMESTAMP: the statement's time without a zone.
    Local,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Momentary {
    source: Source,
    signature: Signature,
}

/// The functions.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    let momentary = [Source::RandomUuid, Source::Clock, Source::Local].map(|source| {
        let volatility = if source == Source::Local { Volatility::Stable } else { Volatility::Volatile };
        ScalarUDF::from(Momentary { source, signature: Signature::nullary(volatility) })
    });
    let sleep = Sleep { signature: Signature::any(1, Volatility::Volatile) };
    momentary.into_iter().chain([AsyncScalarUDF::new(Arc::new(sleep)).into_scalar_udf()]).collect()
}

impl ScalarUDFImpl for Momentary {
    fn name(&self) -> &str {
        match self.source {
            Source::RandomUuid => "gen_random_uuid",
            Source::Clock => "clock_timestamp",
            Source::Local => "local_timestamp",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.source {
            Source::RandomUuid => UUID,
            Source::Clock => timestamp_type(),
            Source::Local => DataType::Timestamp(TimeUnit::Microsecond, None),
        })
    }

    /// The statement's time is known before it runs.
    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match (self.source, info.query_execution_start_time()) {
            (Source::Local, Some(start)) => {
                let now = ScalarValue::TimestampMicrosecond(Some(start.timestamp_micros()), None);
                Ok(ExprSimplifyResult::Simplified(Expr::Literal(now, None)))
            }
            _ => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match self.source {
            Source::RandomUuid => {
                let mut ids = FixedSizeBinaryBuilder::with_capacity(args.number_rows, 16);
                let mut source = StdRng::from_os_rng();
                for _ in 0..args.number_rows {
                    ids.append_value(version_4(source.random()).to_be_bytes())?;
                }
                Ok(ColumnarValue::Array(Arc::new(ids.finish())))
            }
            Source::Clock | Source::Local => {
                let zone = (self.source == Source::Clock).then(|| Arc::from("UTC"));
                let now = ScalarValue::TimestampMicrosecond(Some(UnixNanos::now().0 / 1_000), zone);
                Ok(ColumnarValue::Scalar(now))
            }
        }
    }
}

/// An id of RFC 9562, version 4, from random bits.
fn version_4(random: u128) -> u128 {
    (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62)
}

/// `pg_sleep(seconds)`: gives its thread back while it waits, so that the statement can be canceled.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Sleep {
    signature: Signature,
}

impl ScalarUDFImpl for Sleep {
    fn name(&self) -> &str {
        "pg_sleep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        // void: an empty text.
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("pg_sleep waits without a thread")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Sleep {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let seconds = cast(&args.args[0].to_array(args.number_rows)?, &DataType::Float64)?;
        for seconds in seconds.as_primitive::<Float64Type>().iter().flatten() {
            match Duration::try_from_secs_f64(seconds.max(0.0)) {
                Ok(duration) if duration <= LONGEST_SLEEP => tokio::time::sleep(duration).await,
                Ok(_) => {
                    let what = format!("pg_sleep of more than {} seconds", LONGEST_SLEEP.as_secs());
                    return Err(QueryError::NotSupported { what }.into());
                }
                Err(_) => return exec_err!("pg_sleep: {seconds} is no number of seconds"),
            }
        }
        let texts = arrow::array::StringArray::from(vec![""; args.number_rows]);
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_have_the_version_and_variant_of_random_ids() {
        for random in [0, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = version_4(random);
            assert_eq!(((id >> 76) & 0xf, (id >> 62) & 0x3), (4, 2));
        }
    }
}
