//! A disk that is full: senders are told to come again, nothing is lost, and service returns when space does.

use crate::http::Connection;
use crate::machine;
use crate::protobuf::{export_request, log};
use crate::server::{Home, Server, now_unix_nanos, verify};
use std::process::Command;
use std::time::{Duration, Instant};

/// A small file system on the data directory, until dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount(at: std::path::PathBuf, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let options = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_retryable_for_senders_and_everything_is_taken_once_there_is_space() {
    let _machine = machine::shared();
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(home.data(), 48) else {
        machine::announce("SKIPPED a_full_disk...: needs the right to mount a tmpfs (run as root)");
        return;
    };
    let server = Server::start(&home);
    let ballast = home.data().join("ballast");
    let started = now_unix_nanos();
    let text = "x".repeat(20_000);
    let body =
        |number: u64| export_request("writer", &[log(&format!("{number} {text}"), started + number * 1_000_000)]);
    let mut connection = Connection::open(server.ports.http).unwrap();
    let mut send = |number: u64| {
        let answer =
            connection.send("POST", "/v1/logs", &[("content-type", "application/x-protobuf")], &body(number)).unwrap();
        assert!([200, 503].contains(&answer.status), "{}: {}", answer.status, answer.text());
        answer.status == 200
    };
    assert!(send(0));
    std::fs::write(&ballast, vec![1; 40 << 20]).unwrap();
    let accepted = (1..2_000).take_while(|number| send(*number)).count() as u64 + 1;
    assert!((10..1_900).contains(&accepted), "{accepted} requests of 20 kB in what is left of 48 MiB");
    // Still full: refused again and again, and what was accepted can be asked for.
    (0..5).for_each(|_| assert!(!send(accepted)));
    let count = || server.sql("SELECT count(*) FROM events").number();
    assert_eq!(count(), accepted as i64);

    std::fs::remove_file(&ballast).unwrap();
    let begun = Instant::now();
    while !send(accepted) {
        assert!(begun.elapsed() < Duration::from_secs(60), "refused although there is space:\n{}", server.output());
        std::thread::sleep(Duration::from_millis(50));
    }
    (accepted + 1..accepted + 20).for_each(|number| assert!(send(number)));
    assert_eq!(count(), accepted as i64 + 20);
    server.kill();
    let server = Server::start(&home);
    assert_eq!(server.sql("SELECT count(*) FROM events").number(), accepted as i64 + 20);
    assert_eq!(server.ledger("logs"), [accepted as i64 + 20, accepted as i64 + 20, 0, 0, 0]);
    assert!(server.terminate(Duration::from_secs(60)).success());
    verify(&home.data());
    drop(disk);
}
