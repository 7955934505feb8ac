//! The same statements to Whence and to a real PostgreSQL 16, through psql: the answers must be the same, byte for byte.
//!
//! The statements are those of `tests/golden/functions`; they need no tables. One after a comment `-- error` must fail
//! on both sides; words and codes of errors may differ.

use crate::clients;
use crate::machine;
use crate::server::{Home, Server};
use crate::sql::eventually;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A PostgreSQL of our own, on a socket in a temporary folder and a port of loopback.
pub(crate) struct Postgres {
    child: Child,
    folder: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `tests/clients/install` has put the server. PostgreSQL refuses to run as root; then it runs as nobody, who may
/// not be allowed to look into the target folder, and gets a copy.
fn programs(folder: &Path) -> PathBuf {
    let installed = clients::folder().join("postgres");
    assert!(
        installed.join(".installed").exists(),
        "PostgreSQL is not in {}: run tests/clients/install",
        installed.display()
    );
    if !is_root() {
        return installed.join("bin");
    }
    let copied = Command::new("cp").arg("-r").arg(&installed).arg(folder.join("programs")).status();
    assert!(copied.expect("cp").success(), "{} cannot be copied", installed.display());
    folder.join("programs/bin")
}

fn is_root() -> bool {
    let user = Command::new("id").arg("-u").output().expect("id").stdout;
    user.trim_ascii() == b"0"
}

fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
    command
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let data = folder.path().join("data");
        let bin = programs(folder.path());
        let made = unprivileged(&bin.join("initdb"))
            .args(["-A", "trust", "-U", "postgres", "--no-sync", "--locale=C", "-E", "UTF8", "-D"])
            .arg(&data)
            .current_dir("/")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let child = unprivileged(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-p", &port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "timezone=UTC"])
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let postgres = Self { child, folder, port };
        let ready = || psql(&postgres.address(), "SELECT 1").status.success();
        eventually(Duration::from_secs(60), ready, |ready| *ready);
        postgres
    }

    pub(crate) fn address(&self) -> [String; 3] {
        [self.folder.path().display().to_string(), self.port.to_string(), "postgres".to_owned()]
    }
}

/// The answers to `script`, from the server at host, port and database.
pub(crate) fn psql([host, port, database]: &[String; 3], script: &str) -> Output {
    use std::io::Write;
    let mut child = Command::new("psql")
        .args(["-X", "-A", "-t", "-q", "-P", "null=NULL", "-h", host, "-p", port, "-U", "postgres", database])
        .env_remove("PGOPTIONS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql is installed by tests/run");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Answer to each statement: rows as psql prints them, or `error`.
fn answers(address: &[String; 3], statements: &[String]) -> Vec<String> {
    let mut script = String::new();
    for statement in statements {
        script.push_str(statement);
        script.push_str("\n\\echo :ERROR\n\\echo ---\n");
    }
    let output = psql(address, &script);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let answers = text.split("---\n").filter(|answer| !answer.is_empty());
    answers
        .map(|answer| match answer.strip_suffix("false\n") {
            Some(rows) => rows.to_owned(),
            None => "error".to_owned(),
        })
        .collect()
}

#[test]
fn functions_answer_as_postgresql_does() {
    let _machine = machine::shared();
    let postgres = Postgres::start();
    let server = Server::start(&Home::new());
    let whence = ["127.0.0.1".to_owned(), server.ports.pgwire.to_string(), "whence".to_owned()];
    let mut differences = String::new();
    let mut count = 0;
    for file in crate::golden::statement_files("golden/functions") {
        let text = std::fs::read_to_string(&file).unwrap();
        let statements: Vec<String> = text.split_inclusive(";\n").map(|text| text.trim().to_owned()).collect();
        let theirs = answers(&postgres.address(), &statements);
        let ours = answers(&whence, &statements);
        assert_eq!((theirs.len(), ours.len()), (statements.len(), statements.len()), "{}", file.display());
        for ((statement, theirs), ours) in statements.iter().zip(theirs).zip(ours) {
            count += 1;
            let fails = statement.starts_with("-- error");
            if theirs != ours || fails != (theirs == "error") {
                differences.push_str(&format!("{statement}\nPostgreSQL:\n{theirs}\nWhence:\n{ours}\n\n"));
            }
        }
    }
    assert!(count > 40, "{count} statements");
    assert!(differences.is_empty(), "{differences}");
}
