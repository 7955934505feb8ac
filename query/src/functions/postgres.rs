//! Functions that PostgreSQL clients call to find out whom they talk to.

use crate::settings::{Settings, version_text};
use arrow::array::{AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;
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

/// Everything in the catalog is found without its schema, and may be read.
const VISIBLE: [&str; 13] = [
    "pg_function_is_visible",
    "pg_type_is_visible",
    "pg_conversion_is_visible",
    "pg_collation_is_visible",
    "pg_operator_is_visible",
    "pg_opclass_is_visible",
    "pg_opfamily_is_visible",
    "pg_statistics_obj_is_visible",
    "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible",
    "pg_ts_parser_is_visible",
    "pg_ts_template_is_visible",
    "pg_has_role",
];

/// Functions with one answer.
pub(crate) fn constants() -> Vec<ScalarUDF> {
    let no_text = || ScalarValue::Utf8(None);
    let answers = [
        ("version", ScalarValue::from(version_text())),
        ("pg_is_in_recovery", ScalarValue::from(false)),
        ("pg_advisory_unlock_all", no_text()),
        ("shobj_description", no_text()),
        ("pg_get_indexdef", no_text()),
        ("pg_get_statisticsobjdef_columns", no_text()),
        ("pg_stat_get_numscans", ScalarValue::from(0_i64)),
        ("pg_get_serial_sequence", no_text()),
        ("pg_tablespace_location", no_text()),
        ("inet_server_addr", no_text()),
        ("inet_server_port", ScalarValue::Int32(None)),
        ("inet_client_addr", no_text()),
        ("inet_client_port", ScalarValue::Int32(None)),
        ("txid_current", ScalarValue::Int64(Some(1))),
        ("pg_get_function_arg_default", no_text()),
        ("pg_get_function_sqlbody", no_text()),
        ("pg_get_functiondef", no_text()),
        ("pg_get_ruledef", no_text()),
        ("pg_get_triggerdef", no_text()),
        ("pg_get_statisticsobjdef", no_text()),
        ("pg_char_to_encoding", ScalarValue::from(6)),
        ("pg_tablespace_size", ScalarValue::Int64(None)),
        ("pg_my_temp_schema", ScalarValue::from(0)),
        ("pg_is_other_temp_schema", ScalarValue::from(false)),
        ("pg_try_advisory_lock", ScalarValue::from(true)),
        ("pg_advisory_unlock", ScalarValue::from(true)),
        ("row_security_active", ScalarValue::from(false)),
    ];
    let visible = VISIBLE.map(|name| (name, ScalarValue::from(true)));
    let answers = answers.into_iter().chain(visible);
    let function =
        |(name, value)| ScalarUDF::from(Constant { name, value, signature: Signature::variadic_any_or_nullary() });
    answers.map(function).collect()
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
        let get = |name: &str| match self.settings.get(name) {
            Ok(value) => Ok(Some(value)),
            Err(_) if missing_ok => Ok(None),
            Err(error) => Err(error),
        };
        let value = match &args.args[0] {
            ColumnarValue::Scalar(name) => match name.try_as_str() {
                Some(Some(name)) => get(name)?,
                _ => None,
            },
            ColumnarValue::Array(names) => {
                let names = names.as_string::<i32>().iter();
                let values =
                    names.map(|name| name.map_or(Ok(None), get)).collect::<std::result::Result<StringArray, _>>()?;
                return Ok(ColumnarValue::Array(Arc::new(values)));
            }
        };
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(value)))
    }
}
