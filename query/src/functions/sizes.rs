//! Sizes of tables on disk, of one statement's snapshot: the chunks of the tenant's partition, with the rows of every
//! tenant that they hold.

use crate::provider::catalog::Describing;
use crate::provider::relations::Relations;
use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use whence_schema::{Table, TenantId};
use whence_storage::Snapshot;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Table,
    Indexes,
    Database,
}

/// `pg_table_size(table)` and its like; tables by number or name. Tables without chunks take nothing.
#[derive(Debug)]
struct Size {
    name: &'static str,
    of: Of,
    describing: Describing,
    snapshot: Arc<Snapshot>,
    tenant: TenantId,
    signature: Signature,
}

impl PartialEq for Size {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.snapshot.version == other.snapshot.version && self.tenant == other.tenant
    }
}

impl Eq for Size {}

impl Hash for Size {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.snapshot.version.hash(state);
    }
}

impl Size {
    fn bytes_of(&self, table: Table) -> i64 {
        let bucket = whence_storage::bucket_of(self.tenant.as_str());
        let chunks = self.snapshot.table(table).chunks.iter().filter(|chunk| chunk.bucket == bucket);
        chunks.map(|chunk| i64::try_from(chunk.bytes).unwrap_or(i64::MAX)).sum()
    }

    fn of_relation(&self, relations: &Relations, name: Option<&str>, oid: Option<i64>) -> Option<i64> {
        let relation = match (oid, name) {
            (Some(oid), _) => relations.with_oid(i32::try_from(oid).ok()?)?,
            (None, name) => relations.named(name?)?,
        };
        let table = Table::ALL.into_iter().find(|table| table.name() == relation.name && relation.is_visible());
        Some(table.filter(|_| self.of == Of::Table).map_or(0, |table| self.bytes_of(table)))
    }
}

impl ScalarUDFImpl for Size {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.of == Of::Database {
            let all =
                Int64Array::from_value(Table::ALL.map(|table| self.bytes_of(table)).iter().sum(), args.number_rows);
            return Ok(ColumnarValue::Array(Arc::new(all)));
        }
        let Some(first) = args.args.first() else {
            return Ok(ColumnarValue::Array(Arc::new(Int64Array::new_null(args.number_rows))));
        };
        let relations = self.describing.relations()?;
        let column = first.to_array(args.number_rows)?;
        let sizes: Int64Array = if column.data_type().is_integer() {
            let oids = cast(&column, &DataType::Int64)?;
            oids.as_primitive::<Int64Type>().iter().map(|oid| self.of_relation(&relations, None, Some(oid?))).collect()
        } else {
            let names = cast(&column, &DataType::Utf8)?;
            let names = names.as_string::<i32>().iter();
            names
                .map(|name| self.of_relation(&relations, name, name.and_then(|name| name.trim().parse().ok())))
                .collect()
        };
        Ok(ColumnarValue::Array(Arc::new(sizes)))
    }
}

/// The functions of one statement.
pub(crate) fn functions(describing: &Describing, snapshot: &Arc<Snapshot>, tenant: &TenantId) -> [ScalarUDF; 5] {
    let names = [
        ("pg_table_size", Of::Table),
        ("pg_relation_size", Of::Table),
        ("pg_total_relation_size", Of::Table),
        ("pg_indexes_size", Of::Indexes),
        ("pg_database_size", Of::Database),
    ];
    names.map(|(name, of)| {
        let accepted = vec![TypeSignature::Any(1), TypeSignature::Any(2)];
        ScalarUDF::from(Size {
            name,
            of,
            describing: describing.clone(),
            snapshot: snapshot.clone(),
            tenant: tenant.clone(),
            signature: Signature::one_of(accepted, Volatility::Stable),
        })
    })
}
