//! Continuous aggregates in the control database.

use super::Control;
use crate::StorageError;
use crate::aggregates::{Definition, DefinitionId};
use sqlx::Row;
use whence_schema::{TenantId, UnixNanos};

impl Control {
    /// Every declared aggregate with its tenant, in the order in which they were declared.
    pub(crate) async fn aggregates(&self) -> Result<Vec<(TenantId, Definition)>, StorageError> {
        let rows = sqlx::query("SELECT id, tenant, name, query, created_at FROM continuous_aggregate ORDER BY id")
            .fetch_all(&self.pool)
            .await?;
        let definition = |row: sqlx::sqlite::SqliteRow| {
            let tenant: String = row.try_get("tenant")?;
            let definition = Definition {
                id: DefinitionId(row.try_get("id")?),
                name: row.try_get("name")?,
                query: row.try_get("query")?,
                created_at: UnixNanos(row.try_get("created_at")?),
            };
            Ok((TenantId::new(&tenant), definition))
        };
        rows.into_iter().map(definition).collect()
    }

    /// Keeps a declaration and gives it its number.
    pub(crate) async fn insert_aggregate(
        &self,
        tenant: &TenantId,
        name: &str,
        query: &str,
        created_at: UnixNanos,
    ) -> Result<DefinitionId, StorageError> {
        let inserted =
            sqlx::query("INSERT INTO continuous_aggregate (tenant, name, query, created_at) VALUES (?, ?, ?, ?)")
                .bind(tenant.as_str())
                .bind(name)
                .bind(query)
                .bind(created_at.0)
                .execute(&self.pool)
                .await?;
        Ok(DefinitionId(inserted.last_insert_rowid()))
    }

    /// Forgets declarations, all of them or none.
    pub(crate) async fn delete_aggregates(&self, ids: &[DefinitionId]) -> Result<(), StorageError> {
        let mut transaction = self.pool.begin().await?;
        for id in ids {
            sqlx::query("DELETE FROM continuous_aggregate WHERE id = ?").bind(id.0).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Gives a declaration another name.
    pub(crate) async fn rename_aggregate(&self, id: DefinitionId, name: &str) -> Result<(), StorageError> {
        sqlx::query("UPDATE continuous_aggregate SET name = ? WHERE id = ?")
            .bind(name)
            .bind(id.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
