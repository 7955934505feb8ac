//! A server of the S3 protocol that the tests start, and a proxy before it that has faults.

use crate::clients::{answer_of, folder, python};
use crate::machine::free_port;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BUCKET: &str = "telemetry";

/// What the proxy does to requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Hands them on.
    None,
    /// Closes every connection.
    Away,
    /// Answers 500 and 503 in turn, and hands nothing on.
    Errors,
    /// Hands them on after a while.
    Slow(Duration),
    /// Has them done, then closes the connection instead of answering.
    AnswersLost,
}

/// The server and its proxy; both end when dropped.
pub(crate) struct Bucket {
    server: Child,
    server_port: u16,
    proxy: Proxy,
    _folder: TempDir,
}

impl Bucket {
    /// Starts both, with an empty bucket. moto, from PyPI; `WHENCE_TEST_VERSITYGW=FILE` uses that program instead, which
    /// checks signatures and keeps objects in files.
    pub(crate) fn start() -> Self {
        let server_port = free_port();
        let files = TempDir::with_prefix("whence-s3-").unwrap();
        let mut command = match std::env::var("WHENCE_TEST_VERSITYGW") {
            Ok(program) => {
                let mut command = Command::new(program);
                command.env("ROOT_ACCESS_KEY", "test-key").env("ROOT_SECRET_KEY", "test-secret");
                command.args(["--port", &format!("127.0.0.1:{server_port}"), "posix"]).arg(files.path());
                command
            }
            Err(_) => {
                let mut command = Command::new(folder().join("python/bin/python"));
                command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &server_port.to_string()]);
                command
            }
        };
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", server_port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "the S3 server does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        let bucket = Self { server, server_port, proxy: Proxy::start(server_port), _folder: files };
        answer_of(python("bucket.py").args([&bucket.direct(), BUCKET]), b"");
        bucket
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.proxy.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Requests that came to the proxy.
    pub(crate) fn requests(&self) -> u64 {
        self.proxy.requests.load(Ordering::Relaxed)
    }

    /// `key=value` settings of a server whose tables are in this bucket.
    pub(crate) fn settings(&self, home: &crate::server::Home, cache_mib: u32) -> Vec<String> {
        let hypertables = "exporters.hypertables";
        vec![
            format!("{hypertables}.path={}", Self::url()),
            format!("{hypertables}.local_path={}", home.data().display()),
            format!("{hypertables}.s3.endpoint=http://127.0.0.1:{}", self.proxy.port),
            format!("{hypertables}.s3.allow_http=true"),
            format!("{hypertables}.s3.access_key_id=test-key"),
            format!("{hypertables}.s3.secret_access_key=test-secret"),
            format!("{hypertables}.s3.request_timeout=5s"),
            format!("{hypertables}.s3.cache_mib={cache_mib}"),
            format!("{hypertables}.memory_mib=64"),
        ]
    }

    fn url() -> String {
        format!("s3://{BUCKET}/whence/tests")
    }

    fn direct(&self) -> String {
        format!("http://127.0.0.1:{}", self.server_port)
    }

    /// What the Python package `deltalake` counts in the tables, past the proxy.
    pub(crate) fn counted_by_deltalake(&self) -> serde_json::Value {
        answer_of(python("delta.py").args([&self.direct(), &Self::url()]), b"")
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

struct Proxy {
    port: u16,
    fault: Arc<Mutex<Fault>>,
    requests: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let fault = Arc::new(Mutex::new(Fault::None));
        let requests = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, counted, ended) = (fault.clone(), requests.clone(), stop.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), fault) = (client, *shared.lock().unwrap_or_else(PoisonError::into_inner)) else {
                    continue;
                };
                let number = counted.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || drop(hand_on(client, server, fault, number)));
            }
        });
        Self { port, fault, requests, stop }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// One request over one connection, which is then closed.
fn hand_on(mut client: TcpStream, server: u16, fault: Fault, number: u64) -> std::io::Result<()> {
    if fault == Fault::Away {
        return client.shutdown(Shutdown::Both);
    }
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    let request = read_request(&mut client)?;
    match fault {
        Fault::Errors => {
            let status = if number.is_multiple_of(2) { "500 Internal Server Error" } else { "503 Slow Down" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return client.write_all(answer.as_bytes());
        }
        Fault::Slow(pause) => std::thread::sleep(pause),
        _ => {}
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    upstream.write_all(&request)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    if fault == Fault::AnswersLost { client.shutdown(Shutdown::Both) } else { client.write_all(&answer) }
}

/// Head and body of a request, with the head asking the server to close the connection behind its answer.
fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65_536];
    let ended = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let read = client.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..(read > 0).then_some(read).ok_or_else(ended)?]);
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length =
        text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    while bytes.len() < head + length {
        let read = client.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..(read > 0).then_some(read).ok_or_else(ended)?]);
    }
    let mut request = bytes[..head - 2].to_vec();
    request.extend_from_slice(b"connection: close\r\n\r\n");
    request.extend_from_slice(&bytes[head..]);
    Ok(request)
}
