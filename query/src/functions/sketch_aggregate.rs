//! Aggregates that make sketches, and those that put parts of a row of metrics together: sketches merge, squared distances merge by the pairwise
//! update of [`whence_schema::aggregate::Aggregate`].

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, Expr, GroupsAccumulator, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use std::fmt;
use std::sync::Arc;
use whence_schema::sketch::Sketch;

/// What is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    /// Sketches; `rollup(sketch)` in SQL.
    Sketch,
    /// Values, into a sketch; `percentile_agg(value)` in SQL.
    Values,
    /// Squared distances from the mean, given count, sum and `m2`.
    SquaredDistances,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Merge {
    part: Part,
    signature: Signature,
}

/// The aggregate behind `rollup(sketch)`.
pub(crate) fn rollup() -> AggregateUDF {
    AggregateUDF::from(Merge {
        part: Part::Sketch,
        signature: Signature::exact(vec![DataType::Binary], Volatility::Immutable),
    })
}

/// The aggregate behind `percentile_agg(value)`.
pub(crate) fn percentile_agg() -> AggregateUDF {
    AggregateUDF::from(Merge {
        part: Part::Values,
        signature: Signature::exact(vec![DataType::Float64], Volatility::Immutable),
    })
}

/// Merged squared distances as an expression over stored columns.
pub(crate) fn squared_distances(count: Expr, sum: Expr, m2: Expr) -> Expr {
    let types = vec![DataType::Int64, DataType::Float64, DataType::Float64];
    let signature = Signature::exact(types, Volatility::Immutable);
    AggregateUDF::from(Merge { part: Part::SquaredDistances, signature }).call(vec![count, sum, m2])
}

impl AggregateUDFImpl for Merge {
    fn name(&self) -> &str {
        match self.part {
            Part::Sketch => "rollup",
            Part::Values => "percentile_agg",
            Part::SquaredDistances => "merge_squared_distances",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.part {
            Part::Sketch | Part::Values => DataType::Binary,
            Part::SquaredDistances => DataType::Float64,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, data_type| Arc::new(Field::new(format!("{}[{name}]", args.name), data_type, true));
        Ok(match self.part {
            Part::Sketch | Part::Values => vec![field("sketch", DataType::Binary)],
            Part::SquaredDistances => {
                vec![field("count", DataType::Int64), field("sum", DataType::Float64), field("m2", DataType::Float64)]
            }
        })
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(match self.part {
            Part::Sketch => Box::new(OneGroup(Sketches::default())),
            Part::Values => Box::new(OneGroup(Sketches { of_values: true, ..Sketches::default() })),
            Part::SquaredDistances => Box::new(OneGroup(Moments::default())),
        })
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(match self.part {
            Part::Sketch => Box::<Sketches>::default(),
            Part::Values => Box::new(Sketches { of_values: true, ..Sketches::default() }),
            Part::SquaredDistances => Box::<Moments>::default(),
        })
    }
}

/// One group by means of the accumulator for many.
#[derive(Debug)]
struct OneGroup<A>(A);

impl<A: GroupsAccumulator + fmt::Debug + Sync> Accumulator for OneGroup<A> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |array| array.len());
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |array| array.len());
        self.0.merge_batch(states, &vec![0; rows], 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.update_batch(&[], &[], None, 1)?;
        ScalarValue::try_from_array(&self.0.evaluate(EmitTo::All)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.update_batch(&[], &[], None, 1)?;
        self.0.state(EmitTo::All)?.iter().map(|array| ScalarValue::try_from_array(array, 0)).collect()
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

/// Sketch of one group. Most groups have one part only: it is kept as it came, and never decoded.
#[derive(Debug, Default)]
enum GroupSketch {
    #[default]
    Empty,
    Encoded(Box<[u8]>),
    Merged(Box<Sketch>),
}

impl GroupSketch {
    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let decode = |bytes: &[u8]| match Sketch::decode(bytes) {
            Some(sketch) => Ok(sketch),
            None => exec_err!("a stored sketch of {} bytes cannot be read", bytes.len()),
        };
        match self {
            Self::Empty => *self = Self::Encoded(bytes.into()),
            Self::Encoded(first) => {
                let mut sketch = decode(first)?;
                sketch.merge(&decode(bytes)?);
                *self = Self::Merged(Box::new(sketch));
            }
            Self::Merged(sketch) => sketch.merge(&decode(bytes)?),
        }
        Ok(())
    }

    fn add_value(&mut self, value: f64) -> Result<()> {
        if let Self::Empty = self {
            *self = Self::Merged(Box::default());
        }
        if let Self::Encoded(bytes) = self {
            match Sketch::decode(bytes) {
                Some(sketch) => *self = Self::Merged(Box::new(sketch)),
                None => return exec_err!("a stored sketch of {} bytes cannot be read", bytes.len()),
            }
        }
        if let Self::Merged(sketch) = self {
            sketch.add(value, 1);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Encoded(bytes) => bytes.len(),
            // A bin is 16 bytes; merged sketches of one bucket have some dozens of them.
            Self::Merged(_) => 1_024,
        }
    }
}

#[derive(Debug, Default)]
struct Sketches {
    groups: Vec<GroupSketch>,
    bytes: usize,
    /// The input is values, not sketches.
    of_values: bool,
}

impl Sketches {
    fn merge(&mut self, values: &[ArrayRef], group_indices: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        let Some(values) = values.first() else { return Ok(()) };
        for (row, (value, group)) in values.as_binary::<i32>().iter().zip(group_indices).enumerate() {
            if let Some(bytes) = value.filter(|_| keeps(filter, row)) {
                let group = &mut self.groups[*group];
                let before = group.size();
                group.add(bytes)?;
                self.bytes = self.bytes + group.size() - before;
            }
        }
        Ok(())
    }

    fn reach(&mut self, total_groups: usize) {
        if self.groups.len() < total_groups {
            self.groups.resize_with(total_groups, GroupSketch::default);
        }
    }
}

impl GroupsAccumulator for Sketches {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> Result<()> {
        self.reach(total_groups);
        let Some(numbers) = values.first().filter(|_| self.of_values) else {
            return self.merge(values, group_indices, filter);
        };
        for (row, (value, group)) in numbers.as_primitive::<Float64Type>().iter().zip(group_indices).enumerate() {
            if let Some(value) = value.filter(|_| keeps(filter, row)) {
                let group = &mut self.groups[*group];
                let before = group.size();
                group.add_value(value)?;
                self.bytes = self.bytes + group.size() - before;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_groups: usize) -> Result<()> {
        self.reach(total_groups);
        self.merge(values, group_indices, None)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let mut builder = BinaryBuilder::new();
        let mut bytes = Vec::new();
        for group in emit_to.take_needed(&mut self.groups) {
            self.bytes -= group.size();
            match group {
                GroupSketch::Empty => builder.append_null(),
                GroupSketch::Encoded(bytes) => builder.append_value(&bytes),
                GroupSketch::Merged(sketch) => {
                    bytes.clear();
                    sketch.encode(&mut bytes);
                    builder.append_value(&bytes);
                }
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let Some(filter) = filter else { return Ok(values.to_vec()) };
        let kept: BinaryArray = values[0]
            .as_binary::<i32>()
            .iter()
            .enumerate()
            .map(|(row, v)| v.filter(|_| keeps(Some(filter), row)))
            .collect();
        Ok(vec![Arc::new(kept)])
    }

    fn size(&self) -> usize {
        self.bytes + self.groups.capacity() * size_of::<GroupSketch>()
    }
}

fn keeps(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

/// Count, sum and squared distances of each group.
#[derive(Debug, Default)]
struct Moments {
    groups: Vec<(i64, f64, f64)>,
}

impl GroupsAccumulator for Moments {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> Result<()> {
        if self.groups.len() < total_groups {
            self.groups.resize(total_groups, (0, 0.0, 0.0));
        }
        let [counts, sums, m2s] = values else { return Ok(()) };
        let counts = counts.as_primitive::<Int64Type>();
        let (sums, m2s) = (sums.as_primitive::<Float64Type>(), m2s.as_primitive::<Float64Type>());
        for (row, group) in group_indices.iter().enumerate() {
            let present = counts.is_valid(row) && sums.is_valid(row) && m2s.is_valid(row);
            if !present || counts.value(row) <= 0 || !keeps(filter, row) {
                continue;
            }
            let (count, sum, m2) = &mut self.groups[*group];
            let (k, part) = (counts.value(row) as f64, sums.value(row));
            if *count > 0 {
                let n = *count as f64;
                let distance = part / k - *sum / n;
                *m2 += m2s.value(row) + distance * distance * n * k / (n + k);
            } else {
                *m2 = m2s.value(row);
            }
            *count = count.saturating_add(counts.value(row));
            *sum += part;
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_groups: usize) -> Result<()> {
        self.update_batch(values, group_indices, None, total_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = emit_to.take_needed(&mut self.groups);
        let values: Float64Array = groups.iter().map(|(count, _, m2)| (*count > 0).then_some(*m2)).collect();
        Ok(Arc::new(values))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = emit_to.take_needed(&mut self.groups);
        Ok(vec![
            Arc::new(Int64Array::from_iter_values(groups.iter().map(|group| group.0))),
            Arc::new(Float64Array::from_iter_values(groups.iter().map(|group| group.1))),
            Arc::new(Float64Array::from_iter_values(groups.iter().map(|group| group.2))),
        ])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let Some(filter) = filter else { return Ok(values.to_vec()) };
        let counts = values[0].as_primitive::<Int64Type>().iter().enumerate();
        let counts: Int64Array = counts.map(|(row, count)| count.filter(|_| keeps(Some(filter), row))).collect();
        Ok(vec![Arc::new(counts), values[1].clone(), values[2].clone()])
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<(i64, f64, f64)>()
    }
}
