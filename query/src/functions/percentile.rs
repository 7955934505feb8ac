//! `percentile_cont(f) WITHIN GROUP (ORDER BY x)` of a single fraction, exactly as PostgreSQL computes it: all values are
//! gathered, and the ones at the fraction are selected, not sorted. The engine's own rounds the weight between the two
//! values to six digits.

use super::ordered_set::constant;
use crate::error::QueryError;
use arrow::array::{Array, ArrayRef, AsArray, BinaryViewBuilder, BooleanArray, Float64Array};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, ToByteSlice};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Not the engine's own name, under which its own comes back whenever a state is built from another.
pub(crate) const NAME: &str = "percentile_cont_of_one";

/// `percentile_cont_of_one(x, fraction, descending)`; [`crate::dialect`] turns what stands in SQL into that.
pub(crate) fn percentile_cont() -> AggregateUDF {
    AggregateUDF::from(PercentileCont { signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PercentileCont {
    signature: Signature,
}

impl AggregateUDFImpl for PercentileCont {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [values, _, DataType::Boolean] if values.is_numeric() || values.is_null() => {
                Ok(vec![DataType::Float64, DataType::Float64, DataType::Boolean])
            }
            [values, _, DataType::Boolean] => {
                let what = format!("percentile_cont of {values} (use percentile_disc)");
                Err(QueryError::NotSupported { what }.into())
            }
            _ => plan_err!("No function matches percentile_cont without WITHIN GROUP (ORDER BY ...)"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[values]", args.name), DataType::BinaryView, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneGroup(Groups::new(&args)?)))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::new(&args)?))
    }
}

/// Values of a group from which on they stay where they are when they become a state.
const LARGE: usize = 256;

/// The values of each group, in any order.
///
/// A state is the values' bytes, one behind the other: views of bytes change hands without being copied, as lists do not
/// on their way to where the states of a group meet.
#[derive(Debug)]
struct Groups {
    /// Of the way through the values in ascending order; `None` makes every result NULL.
    fraction: Option<f64>,
    values: Vec<Vec<f64>>,
}

impl Groups {
    fn new(args: &AccumulatorArgs) -> Result<Self> {
        let (Some(fraction), Some(descending)) = (args.exprs.get(1), args.exprs.get(2)) else {
            return plan_err!("percentile_cont takes values, a fraction and a direction");
        };
        let fraction = match constant(fraction)? {
            ScalarValue::Float64(fraction) => fraction,
            other => return exec_err!("{other} is no fraction"),
        };
        if let Some(fraction) = fraction.filter(|fraction| !(0.0..=1.0).contains(fraction)) {
            return exec_err!("percentile value {fraction} is not between 0 and 1");
        }
        let descending = constant(descending)? == ScalarValue::Boolean(Some(true));
        let fraction = fraction.map(|fraction| if descending { 1.0 - fraction } else { fraction });
        Ok(Self { fraction, values: Vec::new() })
    }

    fn percentile(&self, values: &mut [f64]) -> Option<f64> {
        let last = values.len().checked_sub(1)?;
        let at = self.fraction? * last as f64;
        let (low_index, weight) = (at.floor() as usize, at - at.floor());
        let (_, low, above) = values.select_nth_unstable_by(low_index, f64::total_cmp);
        // The next value is the least of those above.
        let high = above.iter().copied().min_by(f64::total_cmp).filter(|_| weight > 0.0);
        Some(high.map_or(*low, |high| *low + weight * (high - *low)))
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.values.resize(total_num_groups, Vec::new());
        let Some(values) = values.first().map(|values| values.as_primitive::<Float64Type>()) else { return Ok(()) };
        if values.null_count() == 0 && filter.is_none() {
            // Rows of one group mostly stand together.
            let mut rest = values.values().as_ref();
            for groups in group_indices.chunk_by(|a, b| a == b) {
                let (these, others) = rest.split_at(groups.len());
                self.values[groups[0]].extend_from_slice(these);
                rest = others;
            }
            return Ok(());
        }
        for (row, group) in group_indices.iter().enumerate() {
            if values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                self.values[*group].push(values.value(row));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let mut groups = emit_to.take_needed(&mut self.values);
        let results: Float64Array = groups.iter_mut().map(|values| self.percentile(values)).collect();
        Ok(Arc::new(results))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = emit_to.take_needed(&mut self.values);
        let mut state = BinaryViewBuilder::with_capacity(groups.len());
        for values in groups {
            if values.len() < LARGE {
                state.append_value(values.to_byte_slice());
                continue;
            }
            let Ok(length) = u32::try_from(size_of_val(values.as_slice())) else {
                return exec_err!("percentile_cont of more than {} values of one group", u32::MAX / 8);
            };
            let block = state.append_block(Buffer::from_vec(values));
            state.try_append_view(block, 0, length)?;
        }
        Ok(vec![Arc::new(state.finish())])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.values.resize(total_num_groups, Vec::new());
        let Some(states) = states.first().map(|states| states.as_binary_view()) else { return Ok(()) };
        for (row, group) in group_indices.iter().enumerate().filter(|(row, _)| states.is_valid(*row)) {
            let (values, _) = states.value(row).as_chunks();
            self.values[*group].extend(values.iter().map(|value| f64::from_ne_bytes(*value)));
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |values| values.len());
        let mut each = Self { fraction: self.fraction, values: Vec::new() };
        each.update_batch(values, &(0..rows).collect::<Vec<_>>(), filter, rows)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        let values: usize = self.values.iter().map(Vec::capacity).sum();
        values * size_of::<f64>() + self.values.capacity() * size_of::<Vec<f64>>()
    }
}

/// All rows as one group.
#[derive(Debug)]
struct OneGroup(Groups);

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |values| values.len());
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |lists| lists.len());
        self.0.merge_batch(states, &vec![0; rows], 1)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.values.resize(1, Vec::new());
        let lists = self.0.state(EmitTo::All)?;
        lists.iter().map(|list| ScalarValue::try_from_array(list, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // The values stay: a window asks more than once.
        let mut values = std::mem::take(&mut self.0.values);
        let result = values.first_mut().and_then(|values| self.0.percentile(values));
        self.0.values = values;
        Ok(ScalarValue::Float64(result))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.size()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn percentile(fraction: f64, values: &[f64]) -> Option<f64> {
        let groups = Groups { fraction: Some(fraction), values: Vec::new() };
        groups.percentile(&mut values.to_vec())
    }

    #[test]
    fn percentiles_are_those_that_postgresql_16_gives() {
        let values = [7.0, 1.0, 10.0, 3.0, 2.0];
        assert_eq!(percentile(0.0, &values), Some(1.0));
        assert_eq!(percentile(0.5, &values), Some(3.0));
        assert_eq!(percentile(0.95, &values), Some(9.399999999999999));
        assert_eq!(percentile(1.0, &values), Some(10.0));
        assert_eq!(percentile(0.5, &[]), None);
        // A weight of seven digits: none of them is lost.
        assert_eq!(percentile(0.123_456_7, &[0.0, 10_000_000.0]), Some(1_234_567.0));
    }

    #[test]
    fn states_of_parts_together_are_the_state_of_all() {
        let input: ArrayRef = Arc::new(Float64Array::from(vec![Some(4.0), None, Some(1.0), Some(9.0)]));
        let keep = BooleanArray::from(vec![Some(true), Some(true), Some(true), None]);
        let new = || Groups { fraction: Some(0.5), values: Vec::new() };
        let mut all = new();
        all.update_batch(std::slice::from_ref(&input), &[0, 0, 0, 1], Some(&keep), 2).unwrap();
        let mut parts = new();
        let each = new().convert_to_state(&[input], Some(&keep)).unwrap();
        parts.merge_batch(&each, &[0, 0, 0, 1], 2).unwrap();
        let state = parts.state(EmitTo::All).unwrap();
        parts.merge_batch(&state, &[0, 1], 2).unwrap();
        let expected = Float64Array::from(vec![Some(2.5), None]);
        for mut groups in [all, parts] {
            let result = groups.evaluate(EmitTo::All).unwrap();
            assert_eq!(result.as_primitive::<Float64Type>(), &expected);
        }
    }
}
