//! Rows of catalog tables, column by column.

use arrow::array::{ArrayRef, BooleanArray, Float32Array, Int16Array, Int32Array, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use std::collections::HashMap;
use std::sync::Arc;

/// One row for each of some things.
pub(crate) struct Rows<'a, T> {
    of: &'a [T],
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl<'a, T> Rows<'a, T> {
    pub(crate) fn of(of: &'a [T]) -> Self {
        Self { of, fields: Vec::new(), columns: Vec::new() }
    }

    fn add(mut self, name: &str, column: ArrayRef) -> Self {
        self.fields.push(Field::new(name, column.data_type().clone(), true));
        self.columns.push(column);
        self
    }

    /// Numbers of objects, which clients see as `oid`.
    pub(crate) fn oids(mut self, name: &str, value: impl Fn(&T) -> i32) -> Self {
        let column: Int32Array = self.of.iter().map(|of| Some(value(of))).collect();
        let marked = HashMap::from([(arrow_pg::datatypes::PG_OID_ALIAS_KEY.to_owned(), "oid".to_owned())]);
        self.fields.push(Field::new(name, DataType::Int32, true).with_metadata(marked));
        self.columns.push(Arc::new(column));
        self
    }

    pub(crate) fn oid(self, name: &str, value: i32) -> Self {
        self.oids(name, |_| value)
    }

    pub(crate) fn texts(self, name: &str, value: impl Fn(&T) -> Option<String>) -> Self {
        let column: StringArray = self.of.iter().map(value).collect();
        self.add(name, Arc::new(column))
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.texts(name, |_| Some(value.to_owned()))
    }

    pub(crate) fn flags(self, name: &str, value: impl Fn(&T) -> bool) -> Self {
        let column: BooleanArray = self.of.iter().map(|of| Some(value(of))).collect();
        self.add(name, Arc::new(column))
    }

    pub(crate) fn flag(self, name: &str, value: bool) -> Self {
        self.flags(name, |_| value)
    }

    pub(crate) fn integers(self, name: &str, value: impl Fn(&T) -> i32) -> Self {
        let column: Int32Array = self.of.iter().map(|of| Some(value(of))).collect();
        self.add(name, Arc::new(column))
    }

    pub(crate) fn some_integers(self, name: &str, value: impl Fn(&T) -> Option<i32>) -> Self {
        let column: Int32Array = self.of.iter().map(value).collect();
        self.add(name, Arc::new(column))
    }

    pub(crate) fn integer(self, name: &str, value: i32) -> Self {
        self.integers(name, |_| value)
    }

    pub(crate) fn real(self, name: &str, value: f32) -> Self {
        let column = Float32Array::from_value(value, self.of.len());
        self.add(name, Arc::new(column))
    }

    pub(crate) fn shorts(self, name: &str, value: impl Fn(&T) -> i16) -> Self {
        let column: Int16Array = self.of.iter().map(|of| Some(value(of))).collect();
        self.add(name, Arc::new(column))
    }

    pub(crate) fn short(self, name: &str, value: i16) -> Self {
        self.shorts(name, |_| value)
    }

    /// Nothing in any row.
    pub(crate) fn nulls(self, names: &[&str], data_type: &DataType) -> Self {
        let rows = self.of.len();
        names.iter().fold(self, |table, name| table.add(name, new_null_array(data_type, rows)))
    }

    pub(crate) fn build(self) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.columns)?)
    }
}
