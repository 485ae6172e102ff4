//! Logs: one line an event, on standard error.
//!
//! The JSON form is the one for machines: its writer escapes whatever could end
//! a line or move a cursor. The text form escapes control characters too, so
//! that no value can draw on the reader's terminal.

use std::fmt;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Fields as the library writes them, with control characters escaped.
struct Escaped(DefaultFields);

impl<'writer> FormatFields<'writer> for Escaped {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = String::new();
        self.0.format_fields(Writer::new(&mut text), fields)?;
        for character in text.chars() {
            if character.is_control() || is_bidirectional(character) {
                write!(writer, "{}", character.escape_unicode())?;
            } else {
                writer.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Characters that make a terminal show text in another order than it has.
fn is_bidirectional(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes logs from now on, as `filter` (the syntax of `RUST_LOG`) says. Once in
/// each process; answers what is wrong with the filter, if something is.
pub fn start_logs(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
        LogFormat::Text => logs
            .with_ansi(std::io::stderr().is_terminal())
            .fmt_fields(Escaped(DefaultFields::new()))
            .try_init(),
    };
    started.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Sink {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    const HOSTILE: [&str; 6] = ["a\nb", "a\r\nb", "\u{1b}[2J", "\u{7}", "x\u{202e}y", "\u{9b}31m"];

    #[test]
    fn a_hostile_value_stays_on_its_line() {
        for value in HOSTILE {
            for json in [false, true] {
                let sink = Sink::default();
                let logs = tracing_subscriber::fmt().with_writer(sink.clone());
                let write = || tracing::info!(name = %value, "hello");
                if json {
                    tracing::subscriber::with_default(logs.json().finish(), write);
                } else {
                    let logs = logs.with_ansi(false).fmt_fields(Escaped(DefaultFields::new()));
                    tracing::subscriber::with_default(logs.finish(), write);
                }
                let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
                assert_eq!(written.matches('\n').count(), 1, "{written:?}");
                assert!(!written.trim_end().chars().any(|c| c < ' ' || c == '\u{7f}'), "{written:?}");
            }
        }
    }
}
