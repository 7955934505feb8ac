//! Printing an answer.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Prints to standard output. Ends the process when that fails: quietly when nobody reads on, as behind `| head`.
pub fn print(text: impl Display) {
    let mut output = std::io::stdout().lock();
    let Err(error) = write!(output, "{text}").and_then(|()| output.flush()) else { return };
    if error.kind() != ErrorKind::BrokenPipe {
        eprintln!("whence: cannot print the answer: {error}");
        std::process::exit(1);
    }
    std::process::exit(0);
}
