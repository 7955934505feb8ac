//! A Redis server of a test's own.

use crate::machine::free_port;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server that keeps nothing on disk; killed when dropped.
pub(crate) struct Redis {
    child: Child,
    pub port: u16,
    _directory: TempDir,
}

impl Redis {
    /// Starts Debian's `redis-server` with further settings (`--maxmemory 1mb`).
    pub(crate) fn start(port: u16, settings: &[&str]) -> Self {
        let directory = TempDir::with_prefix("whence-redis-").unwrap();
        let port = if port == 0 { free_port() } else { port };
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(settings)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server: tests/run installs it");
        let redis = Self { child, port, _directory: directory };
        let deadline = Instant::now() + Duration::from_secs(30);
        while redis.try_ask("PING").is_none() {
            assert!(Instant::now() < deadline, "redis-server does not answer on port {port}");
            std::thread::sleep(Duration::from_millis(50));
        }
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The answer to an inline command, as it comes over the wire.
    pub(crate) fn ask(&self, command: &str) -> String {
        self.try_ask(command).expect("redis-server is gone")
    }

    fn try_ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.trim_end().trim_end_matches("+OK").trim_end().to_owned())
    }

    /// Number of keys.
    pub(crate) fn keys(&self) -> u64 {
        self.ask("DBSIZE").trim_start_matches(':').parse().unwrap()
    }

    /// Stops (`STOP`) or goes on (`CONT`): a server that takes connections and answers nothing.
    pub(crate) fn signal(&self, name: &str) {
        Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status().unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
