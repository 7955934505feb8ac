//! A running `whence serve` on ports and a directory of its own.

use crate::http::{self, Answer};
use crate::machine::free_port;
use crate::sql::Rows;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The ports of one server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub grpc: u16,
    pub http: u16,
    pub query: u16,
    pub pgwire: u16,
    pub health: u16,
    pub metrics: u16,
}

impl Ports {
    /// Six ports that are free now.
    pub(crate) fn free() -> Self {
        Self {
            grpc: free_port(),
            http: free_port(),
            query: free_port(),
            pgwire: free_port(),
            health: free_port(),
            metrics: free_port(),
        }
    }

    /// The `--set` arguments that bind a server to these ports.
    pub(crate) fn settings(&self) -> Vec<String> {
        [
            ("receivers.otlp.protocols.grpc.endpoint", self.grpc),
            ("receivers.otlp.protocols.http.endpoint", self.http),
            ("extensions.query.http.endpoint", self.query),
            ("extensions.query.pgwire.endpoint", self.pgwire),
            ("extensions.health_check.endpoint", self.health),
            ("service.telemetry.metrics.address", self.metrics),
        ]
        .iter()
        .flat_map(|(key, port)| ["--set".to_owned(), format!("{key}=127.0.0.1:{port}")])
        .collect()
    }
}

/// A directory that holds a server's data and its output, from one start to the next; removed with its last user.
#[derive(Clone)]
pub(crate) struct Home {
    directory: Arc<TempDir>,
}

impl Home {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { directory: Arc::new(TempDir::with_prefix("whence-e2e-").unwrap()) }
    }

    /// Where the server keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A file beside the data.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// The binary under test: the one built with the tests, or that of `WHENCE_BINARY`.
pub(crate) fn whence() -> Command {
    let binary = std::env::var_os("WHENCE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_whence").into());
    let mut command = Command::new(binary);
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

/// Runs the binary to its end, and fails when that takes longer than `within`.
pub(crate) fn run(arguments: &[&str], within: Duration) -> Output {
    run_with(arguments, &[], within)
}

/// The same with variables in its environment.
pub(crate) fn run_with(arguments: &[&str], variables: &[(&str, &str)], within: Duration) -> Output {
    let variables = variables.iter().copied();
    let child = whence().args(arguments).envs(variables).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id();
    let (send, receive) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || send.send(child.wait_with_output().unwrap()));
    let output = receive.recv_timeout(within).unwrap_or_else(|_| {
        signal(id, "KILL");
        panic!("`whence {}` did not end within {within:?}", arguments.join(" "));
    });
    waiting.join().unwrap().unwrap();
    output
}

/// Standard output and standard error of a finished command, for messages.
pub(crate) fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Sends a signal by name.
fn signal(process: u32, name: &str) {
    // `kill` is built into every shell; a program of that name is not everywhere.
    Command::new("sh").arg("-c").arg(format!("kill -{name} {process}")).status().unwrap();
}

/// A server that is ready; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub ports: Ports,
    output: PathBuf,
    _home: Home,
}

impl Server {
    /// Starts on the data of `home` with defaults, and waits until it is ready.
    pub(crate) fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    /// Starts with further `key=value` settings, and waits until it is ready.
    pub(crate) fn start_with(home: &Home, settings: &[&str]) -> Self {
        Self::start_watching(home, settings, |_, _| ())
    }

    /// Starts, and shows `watch` what health answers until it is ready (nothing while its port is closed).
    pub(crate) fn start_watching(
        home: &Home,
        settings: &[&str],
        watch: impl FnMut(&Ports, Option<http::Answer>),
    ) -> Self {
        let mut server = Self::spawn(home, settings);
        server.wait_until_ready(Duration::from_secs(120), watch);
        server
    }

    /// Starts with further settings, and does not wait.
    pub(crate) fn spawn(home: &Home, settings: &[&str]) -> Self {
        let ports = Ports::free();
        let output = home.file(&format!("server-{}.log", ports.grpc));
        let log = File::create(&output).unwrap();
        let mut command = whence();
        command.arg("serve").args(ports.settings());
        command.args(["--set", &format!("exporters.hypertables.path={}", home.data().display())]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { child, ports, output, _home: home.clone() }
    }

    fn wait_until_ready(&mut self, within: Duration, mut watch: impl FnMut(&Ports, Option<http::Answer>)) {
        let start = Instant::now();
        loop {
            let answer = http::request(self.ports.health, "GET", "/", &[], &[]).ok();
            if answer.as_ref().is_some_and(|answer| answer.status == 200) {
                return;
            }
            watch(&self.ports, answer);
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status} before it was ready:\n{}", self.output());
            }
            assert!(start.elapsed() < within, "not ready within {within:?}:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Memory of the process that no file is behind, in MiB (Linux).
    pub(crate) fn anonymous_memory_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).map_or(0, |kib| kib / 1_024)
    }

    /// What the server has written to its terminal.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits for the end of a server that ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "still running:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `kill -9`: no chance to write anything more.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit status, which must come within the deadline.
    pub(crate) fn terminate(self, within: Duration) -> ExitStatus {
        self.end("TERM", within)
    }

    /// A signal that asks to end; the exit status, which must come within the deadline.
    pub(crate) fn end(mut self, by: &str, within: Duration) -> ExitStatus {
        signal(self.child.id(), by);
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < within, "still running {within:?} after SIG{by}:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `POST` to the OTLP/HTTP port.
    pub(crate) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        self.post_with(path, &[("content-type", content_type)], body)
    }

    /// `POST` to the OTLP/HTTP port with any headers.
    pub(crate) fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http::request(self.ports.http, "POST", path, headers, body).unwrap()
    }

    /// `POST` of one OTLP/JSON request, which must be accepted whole.
    pub(crate) fn export_json(&self, path: &str, body: &serde_json::Value) {
        let answer = self.post(path, "application/json", body.to_string().as_bytes());
        assert_eq!((answer.status, answer.json()), (200, serde_json::json!({})));
    }

    /// The answer to a SQL statement, which must succeed.
    pub(crate) fn sql(&self, statement: &str) -> Rows {
        let answer = self.sql_answer(statement);
        assert_eq!(answer.status, 200, "{statement}\n{}", answer.text());
        Rows::from_json(&answer.json())
    }

    /// The answer to a SQL statement, as it came.
    pub(crate) fn sql_answer(&self, statement: &str) -> Answer {
        let headers = [("content-type", "text/plain")];
        http::request(self.ports.query, "POST", "/v1/sql?format=json", &headers, statement.as_bytes()).unwrap()
    }

    /// Endpoint of OTLP/gRPC as a URL.
    pub(crate) fn grpc_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.grpc)
    }

    /// Endpoint of OTLP/HTTP as a URL.
    pub(crate) fn http_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.http)
    }

    /// Checks that every minute of the ledger balances, and gives (received, stored, duplicate, rejected, dropped).
    pub(crate) fn ledger(&self, signal: &str) -> [i64; 5] {
        let unbalanced = "SELECT count(*) FROM whence.ingest_ledger \
            WHERE received <> stored + duplicate + rejected + dropped";
        assert_eq!(self.sql(unbalanced).number(), 0, "a minute of the ledger does not balance");
        let sums = self.sql(&format!(
            "SELECT sum(received), sum(stored), sum(duplicate), sum(rejected), sum(dropped) \
             FROM whence.ingest_ledger WHERE signal = '{signal}'"
        ));
        let row: Vec<i64> = sums.rows[0].iter().map(crate::sql::whole).collect();
        row.try_into().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what the server said ---\n{}", self.output());
        }
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now_unix_nanos() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// `whence verify` on a directory that no server has open; it must find nothing wrong.
pub(crate) fn verify(data: &Path) {
    let output = run(&["verify", "--data-dir", &data.display().to_string()], Duration::from_secs(300));
    assert!(output.status.success(), "whence verify found a fault:\n{}", words(&output));
}
