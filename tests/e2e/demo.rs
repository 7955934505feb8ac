//! The first thing a newcomer runs: it must name the cause it injected, from SQL alone.

use crate::machine;
use crate::server::{Home, Ports, run, verify, words};
use std::time::{Duration, Instant};

/// The service in a line such as `Injected: slow database in payment ...`.
fn service_in<'a>(text: &'a str, start: &str, before: &str) -> &'a str {
    let line = text.lines().find(|line| line.trim_start().starts_with(start));
    let line = line.unwrap_or_else(|| panic!("no line `{start}` in:\n{text}"));
    let rest = line.trim_start()[start.len()..].trim_start();
    let rest = if before.is_empty() { rest } else { rest.split_once(before).expect("names a service").1 };
    rest.split(|character: char| character.is_whitespace() || ",;:.".contains(character)).next().unwrap()
}

#[test]
fn the_demo_names_the_injected_cause() {
    let _machine = machine::alone();
    for seed in ["1", "7", "42"] {
        let home = Home::new();
        let data = home.data().display().to_string();
        let settings = Ports::free().settings();
        let mut arguments = vec!["demo", "--seed", seed, "--data-dir", &data, "--exit"];
        arguments.extend(settings.iter().map(String::as_str));
        let start = Instant::now();
        let output = run(&arguments, Duration::from_secs(300));
        let text = words(&output);
        assert!(output.status.success(), "seed {seed}:\n{text}");
        let injected = service_in(&text, "Injected:", " in ");
        let found = service_in(&text, "Cause found:", "");
        assert_eq!(found, injected, "seed {seed}:\n{text}");
        machine::announce(&format!("seed {seed}: {found}, in {:.1} s", start.elapsed().as_secs_f64()));
        verify(&home.data());
    }
}
