//! Hours with their onsets and links in the control database.

use super::Control;
use crate::incidents::ErasedAssets;
use crate::onsets::{KEPT, MOST_ONSETS, OnsetHour};
use crate::{Retention, StorageError};
use sqlx::SqliteConnection;
use whence_schema::{Table, TenantId, UnixNanos};

impl Control {
    /// Keeps an hour and its links in one transaction; forgets hours that are a day older, and the onsets of the oldest
    /// beyond what a tenant may have. Returns how many of those there were.
    pub(crate) async fn put_onset_hour(
        &self,
        tenant: &TenantId,
        hour: &OnsetHour,
        links: &[u8],
        now: UnixNanos,
    ) -> Result<u64, StorageError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("INSERT OR REPLACE INTO onset_hour VALUES (?, ?, ?, ?, ?)")
            .bind(tenant.as_str())
            .bind(hour.hour.0)
            .bind(written(hour)?)
            .bind(links)
            .bind(now.0)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM onset_hour WHERE tenant = ? AND hour <= ?")
            .bind(tenant.as_str())
            .bind(hour.hour.0.saturating_sub(KEPT))
            .execute(&mut *transaction)
            .await?;
        let (mut kept, mut evicted) = (0, 0);
        for mut hour in read(&mut transaction, tenant).await?.into_iter().rev() {
            let onsets = hour.onsets();
            kept += onsets;
            if kept > MOST_ONSETS && onsets > 0 {
                evicted += onsets as u64;
                hour.assets.iter_mut().for_each(|asset| asset.onsets.clear());
                write(&mut transaction, tenant, &hour).await?;
            }
        }
        transaction.commit().await?;
        Ok(evicted)
    }

    /// The hours of a tenant, in the order of time.
    pub(crate) async fn onset_hours(&self, tenant: &TenantId) -> Result<Vec<OnsetHour>, StorageError> {
        let mut connection = self.pool.acquire().await?;
        read(&mut connection, tenant).await
    }

    /// The tenants of whom hours are kept.
    pub(crate) async fn tenants_of_onset_hours(&self) -> Result<Vec<TenantId>, StorageError> {
        let tenants: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT tenant FROM onset_hour").fetch_all(&self.pool).await?;
        Ok(tenants.iter().map(|tenant| TenantId::new(tenant)).collect())
    }

    /// The links that were put with each of them.
    pub(crate) async fn links_of_onset_hours(&self, tenant: &TenantId) -> Result<Vec<Vec<u8>>, StorageError> {
        let query = "SELECT links FROM onset_hour WHERE tenant = ? AND links IS NOT NULL ORDER BY hour";
        Ok(sqlx::query_scalar(query).bind(tenant.as_str()).fetch_all(&self.pool).await?)
    }

    /// Forgets the links of a tenant's hours, which are all in the table.
    pub(crate) async fn forget_links_of_onset_hours(&self, tenant: &TenantId) -> Result<(), StorageError> {
        sqlx::query("UPDATE onset_hour SET links = NULL WHERE tenant = ?")
            .bind(tenant.as_str())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets all hours of a tenant.
    pub(crate) async fn forget_onset_hours(&self, tenant: &TenantId) -> Result<(), StorageError> {
        sqlx::query("DELETE FROM onset_hour WHERE tenant = ?").bind(tenant.as_str()).execute(&self.pool).await?;
        Ok(())
    }

    /// Takes out what may tell of erased rows.
    pub(crate) async fn forget_onsets_about(
        &self,
        tenant: &TenantId,
        erased: &ErasedAssets,
    ) -> Result<(), StorageError> {
        let mut transaction = self.pool.begin().await?;
        for mut hour in read(&mut transaction, tenant).await? {
            if hour.forget(erased) {
                write(&mut transaction, tenant, &hour).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Drops what is older than links are kept, by the later of its own time and when it was put here. Returns how many.
    pub(crate) async fn drop_old_onset_hours(
        &self,
        retention: &Retention,
        now: UnixNanos,
    ) -> Result<u64, StorageError> {
        let mut dropped = 0;
        for tenant in self.tenants_of_onset_hours().await? {
            let Some(keep) = retention.of(Table::Correlations, tenant.as_str()) else { continue };
            let oldest = now.0.saturating_sub(i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX));
            let done = sqlx::query("DELETE FROM onset_hour WHERE tenant = ?1 AND created_at < ?2 AND hour < ?2")
                .bind(tenant.as_str())
                .bind(oldest)
                .execute(&self.pool)
                .await?;
            dropped += done.rows_affected();
        }
        Ok(dropped)
    }
}

fn written(hour: &OnsetHour) -> Result<String, StorageError> {
    serde_json::to_string(hour).map_err(|error| StorageError::Control(sqlx::Error::Encode(error.into())))
}

async fn write(connection: &mut SqliteConnection, tenant: &TenantId, hour: &OnsetHour) -> Result<(), StorageError> {
    sqlx::query("UPDATE onset_hour SET content = ? WHERE tenant = ? AND hour = ?")
        .bind(written(hour)?)
        .bind(tenant.as_str())
        .bind(hour.hour.0)
        .execute(connection)
        .await?;
    Ok(())
}

async fn read(connection: &mut SqliteConnection, tenant: &TenantId) -> Result<Vec<OnsetHour>, StorageError> {
    let contents: Vec<String> = sqlx::query_scalar("SELECT content FROM onset_hour WHERE tenant = ? ORDER BY hour")
        .bind(tenant.as_str())
        .fetch_all(connection)
        .await?;
    let read = |content: &String| {
        serde_json::from_str(content).map_err(|error| StorageError::Control(sqlx::Error::Decode(error.into())))
    };
    contents.iter().map(read).collect()
}
