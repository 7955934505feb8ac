//! Functions that belong to one session: they change its settings, or say which connection it is.

use crate::settings::Settings;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use parking_lot::Mutex;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// `set_config(name, value, is_local)`: what it sets holds for the session in any case.
#[derive(Debug)]
pub(crate) struct SetConfig {
    settings: Arc<Mutex<Settings>>,
    signature: Signature,
}

impl SetConfig {
    pub(crate) fn of(settings: Arc<Mutex<Settings>>) -> ScalarUDF {
        let arguments = vec![DataType::Utf8, DataType::Utf8, DataType::Boolean];
        ScalarUDF::from(Self { settings, signature: Signature::exact(arguments, Volatility::Volatile) })
    }
}

impl PartialEq for SetConfig {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.settings, &other.settings)
    }
}

impl Eq for SetConfig {}

impl Hash for SetConfig {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

impl ScalarUDFImpl for SetConfig {
    fn name(&self) -> &str {
        "set_config"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = |at: usize| match &args.args[at] {
            ColumnarValue::Scalar(value) => value.try_as_str().flatten().map(str::to_owned),
            ColumnarValue::Array(_) => None,
        };
        let Some(name) = text(0) else {
            return exec_err!("set_config: the name must be given, and be the same for all rows");
        };
        let value = text(1);
        let mut settings = self.settings.lock();
        settings.set(&name, value.as_deref())?;
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(settings.get(&name)?))))
    }
}

/// `pg_backend_pid()`: the number that a cancel request names.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct BackendPid {
    process: i32,
    signature: Signature,
}

impl BackendPid {
    pub(crate) fn of(process: i32) -> ScalarUDF {
        ScalarUDF::from(Self { process, signature: Signature::nullary(Volatility::Volatile) })
    }
}

impl ScalarUDFImpl for BackendPid {
    fn name(&self) -> &str {
        "pg_backend_pid"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Int32(Some(self.process))))
    }
}

/// `session_user`, `current_user`, `user`: the name that the client came in with.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionUser {
    name: String,
    signature: Signature,
}

impl SessionUser {
    pub(crate) fn named(name: &str) -> ScalarUDF {
        // Not a constant: answers that are kept are kept for all sessions of a tenant.
        ScalarUDF::from(Self { name: name.to_owned(), signature: Signature::nullary(Volatility::Volatile) })
    }
}

impl ScalarUDFImpl for SessionUser {
    fn name(&self) -> &str {
        "session_user"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::from(self.name.as_str())))
    }
}
