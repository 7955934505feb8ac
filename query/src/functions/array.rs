//! Arrays of which the engine makes rows.

use arrow::array::{Array, ArrayRef, AsArray, Int64Builder, ListArray, ListBuilder};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfArray {
    /// `ordinals_of(array)`: 1, 2, ...; else `rows_of_array(array)`: the array, empty instead of NULL.
    ordinals: bool,
    signature: Signature,
}

/// The functions.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    let of_array = [false, true].map(|ordinals| {
        ScalarUDF::from(OfArray { ordinals, signature: Signature::user_defined(Volatility::Immutable) })
    });
    let series = datafusion::functions_nested::range::gen_series_udf().as_ref().clone().with_aliases(["series_of"]);
    of_array.into_iter().chain([series]).collect()
}

impl ScalarUDFImpl for OfArray {
    fn name(&self) -> &str {
        if self.ordinals { "ordinals_of" } else { "rows_of_array" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)] => {
                Ok(vec![DataType::List(item.clone())])
            }
            [DataType::Null] => Ok(vec![DataType::new_list(DataType::Utf8, true)]),
            [other] => plan_err!("No function matches unnest({other})"),
            _ => plan_err!("No function matches unnest with {} arguments", arg_types.len()),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(if self.ordinals { DataType::new_list(DataType::Int64, true) } else { arg_types[0].clone() })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let lists = array.as_list::<i32>();
        let result: ArrayRef = if self.ordinals {
            let mut builder = ListBuilder::new(Int64Builder::new());
            for list in lists.iter() {
                let count = list.map_or(0, |list| i64::try_from(list.len()).unwrap_or(i64::MAX));
                builder.append_value((1..=count).map(Some));
            }
            Arc::new(builder.finish())
        } else {
            without_nulls(lists)?
        };
        match &args.args[0] {
            ColumnarValue::Scalar(_) => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            ColumnarValue::Array(_) => Ok(ColumnarValue::Array(cast(&result, args.return_field.data_type())?)),
        }
    }
}

fn without_nulls(lists: &ListArray) -> Result<ArrayRef> {
    if lists.null_count() == 0 {
        return Ok(Arc::new(lists.clone()));
    }
    let DataType::List(item) = lists.data_type() else { return plan_err!("{} is no array", lists.data_type()) };
    let present: Vec<ArrayRef> = lists.iter().flatten().collect();
    let lengths = lists.iter().map(|list| list.map_or(0, |list| list.len()));
    let parts: Vec<&dyn Array> = present.iter().map(AsRef::as_ref).collect();
    let values = if parts.is_empty() {
        arrow::array::new_empty_array(item.data_type())
    } else {
        arrow::compute::concat(&parts)?
    };
    Ok(Arc::new(ListArray::try_new(item.clone(), OffsetBuffer::from_lengths(lengths), values, None)?))
}
