//! Functions that PostgreSQL clients call to find out whom they talk to.

use crate::settings::{Settings, version_text};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A function whose answer does not depend on its arguments.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

/// Functions with one answer.
pub(crate) fn constants() -> Vec<ScalarUDF> {
    let no_text = || ScalarValue::Utf8(None);
    let answers = [
        ("version", ScalarValue::from(version_text())),
        ("pg_is_in_recovery", ScalarValue::from(false)),
        ("pg_advisory_unlock_all", no_text()),
        ("obj_description", no_text()),
        ("col_description", no_text()),
        ("shobj_description", no_text()),
        ("pg_get_viewdef", no_text()),
        ("pg_get_indexdef", no_text()),
        ("pg_get_serial_sequence", no_text()),
        ("pg_get_function_result", no_text()),
        ("pg_get_function_arguments", no_text()),
        ("pg_tablespace_location", no_text()),
        ("inet_server_addr", no_text()),
        ("inet_server_port", ScalarValue::Int32(None)),
        ("txid_current", ScalarValue::Int64(Some(1))),
    ];
    let function =
        |(name, value)| ScalarUDF::from(Constant { name, value, signature: Signature::variadic_any_or_nullary() });
    answers.into_iter().map(function).collect()
}

trait AnyArguments {
    fn variadic_any_or_nullary() -> Self;
}

impl AnyArguments for Signature {
    fn variadic_any_or_nullary() -> Self {
        use datafusion::logical_expr::TypeSignature::{Nullary, VariadicAny};
        Self::one_of(vec![Nullary, VariadicAny], Volatility::Stable)
    }
}

/// `current_setting(name [, missing_ok])` with the settings of one session.
#[derive(Debug)]
pub(crate) struct CurrentSetting {
    settings: Arc<Settings>,
    signature: Signature,
}

impl CurrentSetting {
    pub(crate) fn of(settings: Arc<Settings>) -> ScalarUDF {
        use datafusion::logical_expr::TypeSignature::Exact;
        let with = vec![Exact(vec![DataType::Utf8]), Exact(vec![DataType::Utf8, DataType::Boolean])];
        ScalarUDF::from(Self { settings, signature: Signature::one_of(with, Volatility::Stable) })
    }
}

// Functions of one statement are of one session: the name says it all.
impl PartialEq for CurrentSetting {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.settings, &other.settings)
    }
}

impl Eq for CurrentSetting {}

impl Hash for CurrentSetting {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

impl ScalarUDFImpl for CurrentSetting {
    fn name(&self) -> &str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let missing_ok = matches!(args.args.get(1), Some(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))));
        let ColumnarValue::Scalar(name) = &args.args[0] else {
            return exec_err!("current_setting: the name must be the same for all rows");
        };
        let value = match name.try_as_str() {
            Some(Some(name)) => match self.settings.get(name) {
                Ok(value) => Some(value),
                Err(_) if missing_ok => None,
                Err(error) => return Err(error.into()),
            },
            _ => None,
        };
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(value)))
    }
}
