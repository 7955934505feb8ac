//! Who is connected and what runs: `pg_stat_activity`, and `pg_cancel_backend` for statements of the own tenant.

use crate::settings::Settings;
use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use whence_schema::TenantId;

/// Characters of a statement that are shown.
const SHOWN: usize = 1_024;

/// Connections of all tenants, by process number; each tenant sees and cancels its own.
#[derive(Debug, Default)]
pub(crate) struct Activity(Mutex<BTreeMap<i32, Connected>>);

#[derive(Debug)]
struct Connected {
    tenant: TenantId,
    user: String,
    address: SocketAddr,
    settings: Arc<Mutex<Settings>>,
    started: i64,
    state: State,
    statement: String,
    statement_started: Option<i64>,
    state_changed: i64,
    canceled: Arc<Notify>,
}

/// State of a connection, as PostgreSQL calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Active,
    Idle,
    IdleInTransaction,
    IdleInFailedTransaction,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::IdleInTransaction => "idle in transaction",
            Self::IdleInFailedTransaction => "idle in transaction (aborted)",
        }
    }
}

/// A connection's place in the list, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Listed {
    activity: Arc<Activity>,
    process: i32,
    canceled: Arc<Notify>,
}

impl Listed {
    /// A statement starts.
    pub(crate) fn begin(&self, statement: &str) {
        let now = now_micros();
        self.change(|connected| {
            connected.statement = statement.chars().take(SHOWN).collect();
            connected.statement_started = Some(now);
            (connected.state, connected.state_changed) = (State::Active, now);
        });
    }

    /// The statement has ended.
    pub(crate) fn end(&self, state: State) {
        self.change(|connected| (connected.state, connected.state_changed) = (state, now_micros()));
    }

    /// Resolves when somebody cancels the statement.
    pub(crate) fn canceled(&self) -> impl Future<Output = ()> + Send + use<> {
        let canceled = self.canceled.clone();
        async move { canceled.notified().await }
    }

    fn change(&self, change: impl FnOnce(&mut Connected)) {
        if let Some(connected) = self.activity.0.lock().get_mut(&self.process) {
            change(connected);
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.activity.0.lock().remove(&self.process);
    }
}

impl Activity {
    /// Lists a connection.
    pub(crate) fn list(
        self: &Arc<Self>,
        process: i32,
        tenant: &TenantId,
        (user, address): (String, SocketAddr),
        settings: Arc<Mutex<Settings>>,
    ) -> Listed {
        let (now, canceled) = (now_micros(), Arc::new(Notify::new()));
        let connected = Connected {
            tenant: tenant.clone(),
            user,
            address,
            settings,
            started: now,
            state: State::Idle,
            statement: String::new(),
            statement_started: None,
            state_changed: now,
            canceled: canceled.clone(),
        };
        self.0.lock().insert(process, connected);
        Listed { activity: self.clone(), process, canceled }
    }

    /// Cancels what a connection of `tenant` runs; false if there is no such connection.
    fn cancel(&self, tenant: &TenantId, process: i32) -> bool {
        match self.0.lock().get(&process).filter(|connected| connected.tenant == *tenant) {
            Some(connected) => {
                connected.canceled.notify_waiters();
                true
            }
            None => false,
        }
    }

    /// `pg_stat_activity` of a tenant.
    pub(crate) fn table(&self, tenant: &TenantId, database: &str) -> Result<RecordBatch> {
        let list = self.0.lock();
        let rows: Vec<_> = list.iter().filter(|(_, connected)| connected.tenant == *tenant).collect();
        let text = |of: &dyn Fn(&Connected) -> Option<String>| -> ArrayRef {
            Arc::new(rows.iter().map(|(_, connected)| of(connected)).collect::<StringArray>())
        };
        let int = |of: &dyn Fn(i32, &Connected) -> Option<i32>| -> ArrayRef {
            Arc::new(rows.iter().map(|(process, connected)| of(**process, connected)).collect::<Int32Array>())
        };
        let time = |of: &dyn Fn(&Connected) -> Option<i64>| -> ArrayRef {
            let times: TimestampMicrosecondArray = rows.iter().map(|(_, connected)| of(connected)).collect();
            Arc::new(times.with_timezone("UTC"))
        };
        let in_transaction =
            |connected: &Connected| connected.statement_started.filter(|_| connected.state != State::Idle);
        Ok(RecordBatch::try_from_iter_with_nullable([
            ("datid", int(&|_, _| Some(1)), true),
            ("datname", text(&|_| Some(database.to_owned())), true),
            ("pid", int(&|process, _| Some(process)), false),
            ("leader_pid", int(&|_, _| None), true),
            ("usesysid", int(&|_, _| Some(10)), true),
            ("usename", text(&|connected| Some(connected.user.clone())), true),
            ("application_name", text(&|connected| connected.settings.lock().get("application_name").ok()), true),
            ("client_addr", text(&|connected| Some(connected.address.ip().to_string())), true),
            ("client_hostname", text(&|_| None), true),
            ("client_port", int(&|_, connected| Some(i32::from(connected.address.port()))), true),
            ("backend_start", time(&|connected| Some(connected.started)), true),
            ("xact_start", time(&in_transaction), true),
            ("query_start", time(&|connected| connected.statement_started), true),
            ("state_change", time(&|connected| Some(connected.state_changed)), true),
            (
                "wait_event_type",
                text(&|connected| (connected.state != State::Active).then(|| "Client".to_owned())),
                true,
            ),
            (
                "wait_event",
                text(&|connected| (connected.state != State::Active).then(|| "ClientRead".to_owned())),
                true,
            ),
            ("state", text(&|connected| Some(connected.state.name().to_owned())), true),
            ("backend_xid", int(&|_, _| None), true),
            ("backend_xmin", int(&|_, _| None), true),
            ("query_id", Arc::new(rows.iter().map(|_| None).collect::<Int64Array>()) as ArrayRef, true),
            ("query", text(&|connected| Some(connected.statement.clone())), true),
            ("backend_type", text(&|_| Some("client backend".to_owned())), true),
        ])?)
    }
}

/// Microseconds since 1970.
pub(crate) fn now_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as i64)
}

/// `pg_cancel_backend(process)` within one tenant.
#[derive(Debug)]
pub(crate) struct CancelBackend {
    activity: Arc<Activity>,
    tenant: TenantId,
    signature: Signature,
}

impl CancelBackend {
    pub(crate) fn of(activity: Arc<Activity>, tenant: TenantId) -> ScalarUDF {
        ScalarUDF::from(Self {
            activity,
            tenant,
            signature: Signature::exact(vec![DataType::Int64], Volatility::Volatile),
        })
    }
}

impl PartialEq for CancelBackend {
    fn eq(&self, other: &Self) -> bool {
        self.tenant == other.tenant && Arc::ptr_eq(&self.activity, &other.activity)
    }
}

impl Eq for CancelBackend {}

impl Hash for CancelBackend {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

impl ScalarUDFImpl for CancelBackend {
    fn name(&self) -> &str {
        "pg_cancel_backend"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let cancel =
            |process: i64| i32::try_from(process).is_ok_and(|process| self.activity.cancel(&self.tenant, process));
        match &args.args[0] {
            ColumnarValue::Scalar(ScalarValue::Int64(process)) => {
                Ok(ColumnarValue::Scalar(ScalarValue::Boolean(process.map(cancel))))
            }
            ColumnarValue::Array(processes) => {
                let processes = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(processes);
                let canceled: arrow::array::BooleanArray =
                    processes.iter().map(|process| process.map(cancel)).collect();
                Ok(ColumnarValue::Array(Arc::new(canceled)))
            }
            other => exec_err!("pg_cancel_backend takes a process number, not {}", other.data_type()),
        }
    }
}
