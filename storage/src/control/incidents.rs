//! Incidents and log templates in the control database.

use super::Control;
use crate::incidents::{Incident, LogTemplate, MOST_INCIDENTS, MOST_TEMPLATES};
use crate::{Retention, StorageError};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use whence_schema::{EventId, Table, TenantId, UnixNanos};

/// Puts one incident; what was there of it keeps the time it first came.
const PUT_INCIDENT: &str = "INSERT INTO incident VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?14, ?14) \
     ON CONFLICT (tenant, id) DO UPDATE SET opened = excluded.opened, closed = excluded.closed, \
     severity = excluded.severity, title = excluded.title, asset = excluded.asset, cause_kind = excluded.cause_kind, \
     confidence = excluded.confidence, affected = excluded.affected, first_symptom = excluded.first_symptom, \
     explanation = excluded.explanation, updated_at = excluded.updated_at, written_at = excluded.written_at";

/// The same of a template.
const PUT_TEMPLATE: &str = "INSERT INTO log_template VALUES (?, ?, ?, ?, ?, ?, ?7, ?7) \
     ON CONFLICT (tenant, id) DO UPDATE SET asset = excluded.asset, text = excluded.text, \
     first_seen = excluded.first_seen, last_seen = excluded.last_seen, written_at = excluded.written_at";

impl Control {
    /// Keeps incidents, all of them or none, and forgets the oldest beyond what a tenant may have.
    pub(crate) async fn put_incidents(
        &self,
        tenant: &TenantId,
        incidents: &[Incident],
        now: UnixNanos,
    ) -> Result<(), StorageError> {
        let mut transaction = self.pool.begin().await?;
        for incident in incidents {
            let affected = serde_json::Value::from(incident.affected.as_slice()).to_string();
            sqlx::query(PUT_INCIDENT)
                .bind(tenant.as_str())
                .bind(incident.id.to_be_bytes().to_vec())
                .bind(incident.opened.0)
                .bind(incident.closed.map(|closed| closed.0))
                .bind(incident.severity)
                .bind(incident.title.as_str())
                .bind(incident.asset.as_deref())
                .bind(incident.cause_kind.as_deref())
                .bind(incident.confidence.map(f64::from))
                .bind(affected)
                .bind(incident.first_symptom.map(|id| id.0.to_be_bytes().to_vec()))
                .bind(incident.explanation.as_str())
                .bind(incident.updated_at.0)
                .bind(now.0)
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query(
            "DELETE FROM incident WHERE tenant = ?1 AND id IN \
             (SELECT id FROM incident WHERE tenant = ?1 ORDER BY opened DESC, id DESC LIMIT -1 OFFSET ?2)",
        )
        .bind(tenant.as_str())
        .bind(MOST_INCIDENTS)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Incidents of a tenant, in the order in which they opened.
    pub(crate) async fn incidents(&self, tenant: &TenantId) -> Result<Vec<Incident>, StorageError> {
        let rows = sqlx::query("SELECT * FROM incident WHERE tenant = ? ORDER BY opened, id")
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(incident_of).collect()
    }

    /// Keeps log templates, all of them or none, and forgets those longest unseen beyond what a tenant may have.
    pub(crate) async fn put_log_templates(
        &self,
        tenant: &TenantId,
        templates: &[LogTemplate],
        now: UnixNanos,
    ) -> Result<(), StorageError> {
        let mut transaction = self.pool.begin().await?;
        for template in templates {
            sqlx::query(PUT_TEMPLATE)
                .bind(tenant.as_str())
                .bind(template.id)
                .bind(template.asset.as_str())
                .bind(template.text.as_str())
                .bind(template.first_seen.0)
                .bind(template.last_seen.0)
                .bind(now.0)
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query(
            "DELETE FROM log_template WHERE tenant = ?1 AND id IN \
             (SELECT id FROM log_template WHERE tenant = ?1 ORDER BY last_seen DESC, id DESC LIMIT -1 OFFSET ?2)",
        )
        .bind(tenant.as_str())
        .bind(MOST_TEMPLATES)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Log templates of a tenant, by number.
    pub(crate) async fn log_templates(&self, tenant: &TenantId) -> Result<Vec<LogTemplate>, StorageError> {
        let rows = sqlx::query("SELECT * FROM log_template WHERE tenant = ? ORDER BY id")
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await?;
        let template = |row: &SqliteRow| {
            Ok(LogTemplate {
                id: row.try_get("id")?,
                asset: row.try_get("asset")?,
                text: row.try_get("text")?,
                first_seen: UnixNanos(row.try_get("first_seen")?),
                last_seen: UnixNanos(row.try_get("last_seen")?),
            })
        };
        rows.iter().map(template).collect()
    }

    /// Forgets all incidents and log templates of a tenant.
    pub(crate) async fn forget_conclusions(&self, tenant: &TenantId) -> Result<(), StorageError> {
        self.forget_incidents(tenant).await?;
        sqlx::query("DELETE FROM log_template WHERE tenant = ?").bind(tenant.as_str()).execute(&self.pool).await?;
        Ok(())
    }

    /// Forgets all incidents of a tenant.
    pub(crate) async fn forget_incidents(&self, tenant: &TenantId) -> Result<(), StorageError> {
        sqlx::query("DELETE FROM incident WHERE tenant = ?").bind(tenant.as_str()).execute(&self.pool).await?;
        Ok(())
    }

    /// Forgets some of them.
    pub(crate) async fn forget(
        &self,
        tenant: &TenantId,
        incidents: &[u128],
        templates: &[i64],
    ) -> Result<(), StorageError> {
        let mut transaction = self.pool.begin().await?;
        for id in incidents {
            sqlx::query("DELETE FROM incident WHERE tenant = ? AND id = ?")
                .bind(tenant.as_str())
                .bind(id.to_be_bytes().to_vec())
                .execute(&mut *transaction)
                .await?;
        }
        for id in templates {
            sqlx::query("DELETE FROM log_template WHERE tenant = ? AND id = ?")
                .bind(tenant.as_str())
                .bind(*id)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// How many incidents, log templates and hours with onsets of a tenant there are.
    pub(crate) async fn count_conclusions(&self, tenant: &TenantId) -> Result<u64, StorageError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM incident WHERE tenant = ?1) \
             + (SELECT count(*) FROM log_template WHERE tenant = ?1) \
             + (SELECT count(*) FROM onset_hour WHERE tenant = ?1)",
        )
        .bind(tenant.as_str())
        .fetch_one(&self.pool)
        .await?;
        Ok(count.unsigned_abs())
    }

    /// Drops what is older than links are kept, by the later of its own time and when it was last put here. Returns how
    /// many.
    pub(crate) async fn drop_old_conclusions(
        &self,
        retention: &Retention,
        now: UnixNanos,
    ) -> Result<u64, StorageError> {
        let tenants: Vec<String> =
            sqlx::query_scalar("SELECT tenant FROM incident UNION SELECT tenant FROM log_template")
                .fetch_all(&self.pool)
                .await?;
        let mut dropped = 0;
        for tenant in tenants {
            let Some(keep) = retention.of(Table::Correlations, &tenant) else { continue };
            let oldest = now.0.saturating_sub(i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX));
            for sql in [
                "DELETE FROM incident WHERE tenant = ?1 AND written_at < ?2 AND max(opened, coalesce(closed, opened)) < ?2",
                "DELETE FROM log_template WHERE tenant = ?1 AND written_at < ?2 AND last_seen < ?2",
            ] {
                let done = sqlx::query(sql).bind(tenant.as_str()).bind(oldest).execute(&self.pool).await?;
                dropped += done.rows_affected();
            }
        }
        Ok(dropped)
    }
}

fn incident_of(row: &SqliteRow) -> Result<Incident, StorageError> {
    let id: Vec<u8> = row.try_get("id")?;
    let affected: String = row.try_get("affected")?;
    let first_symptom: Option<Vec<u8>> = row.try_get("first_symptom")?;
    let number = |bytes: Vec<u8>| bytes.try_into().map(u128::from_be_bytes).map_err(|_| unreadable("an id"));
    Ok(Incident {
        id: number(id)?,
        opened: UnixNanos(row.try_get("opened")?),
        closed: row.try_get::<Option<i64>, _>("closed")?.map(UnixNanos),
        severity: row.try_get::<Option<f64>, _>("severity")?.unwrap_or(f64::NAN),
        title: row.try_get("title")?,
        asset: row.try_get("asset")?,
        cause_kind: row.try_get("cause_kind")?,
        confidence: row.try_get::<Option<f64>, _>("confidence")?.map(|confidence| confidence as f32),
        affected: serde_json::from_str(&affected).map_err(|_| unreadable("a list of assets"))?,
        first_symptom: first_symptom.map(number).transpose()?.map(EventId),
        explanation: row.try_get("explanation")?,
        updated_at: UnixNanos(row.try_get("updated_at")?),
    })
}

fn unreadable(what: &str) -> StorageError {
    StorageError::Control(sqlx::Error::Decode(format!("{what} of an incident is not as it was written").into()))
}
