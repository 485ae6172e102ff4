//! Logs: one line for each event, on standard error.
//!
//! Whatever an event carries, it stays on its line and cannot steer a terminal:
//! control characters, and characters that reorder text, are written as escapes.

use std::fmt::Write as _;
use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object for each event.
    Json,
    /// For people.
    Text,
}

/// Says what is wrong with a filter, if something is.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::builder().parse(filter).map(drop).map_err(|error| error.to_string())
}

/// Starts logging. Panics are logged like everything else. Fails if the filter is
/// wrong or logging was started before.
pub fn start_logs(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::builder().parse(filter).map_err(|error| error.to_string())?;
    let lines = Lines { format, out: io::stderr };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(lines);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => builder.try_init(),
    }
    .map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a value that is no text");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(panic.message = message, panic.place = place, "panicked");
    }));
    Ok(())
}

/// Makes writers that keep each event on its line.
struct Lines<M> {
    format: LogFormat,
    out: M,
}

impl<'a, W: Write, M: Fn() -> W> MakeWriter<'a> for Lines<M> {
    type Writer = Line<W>;

    fn make_writer(&'a self) -> Line<W> {
        Line { format: self.format, out: (self.out)() }
    }
}

/// Takes one event in one write, as the formatter gives it, and writes one line.
struct Line<W> {
    format: LogFormat,
    out: W,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = escaped(text.strip_suffix('\n').unwrap_or(&text), self.format);
        line.push('\n');
        self.out.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The text without characters that leave the line or deceive the eye. In JSON
/// they can only stand inside strings, where `\uHHHH` means the same.
fn escaped(text: &str, format: LogFormat) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if deceives(character) {
            let code = u32::from(character);
            // Writing to a string cannot fail.
            let _ = match format {
                LogFormat::Json => write!(out, "\\u{code:04x}"),
                LogFormat::Text => write!(out, "\\u{{{code:x}}}"),
            };
        } else {
            out.push(character);
        }
    }
    out
}

/// Controls, line and paragraph separators, and marks of writing direction.
fn deceives(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{feff}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str = "one\r\ntwo\u{1b}[31m \u{85}\u{2028}\u{202e}\"\\ \u{0} \u{9b}";

    fn logged(format: LogFormat) -> String {
        let kept = Kept::default();
        let out = kept.clone();
        let lines = Lines { format, out: move || out.clone() };
        let builder = tracing_subscriber::fmt().with_ansi(false).with_writer(lines);
        let event = || tracing::info!(job.id = HOSTILE, "{HOSTILE}");
        match format {
            LogFormat::Json => {
                tracing::subscriber::with_default(builder.json().flatten_event(true).finish(), event);
            }
            LogFormat::Text => tracing::subscriber::with_default(builder.finish(), event),
        }
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn an_event_is_one_line_and_parses() {
        let line = logged(LogFormat::Json);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.trim_end_matches('\n').chars().any(deceives), "{line:?}");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["job.id"], HOSTILE);
        assert_eq!(event["message"], HOSTILE);
    }

    #[test]
    fn text_is_one_line_too() {
        let line = logged(LogFormat::Text);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.trim_end_matches('\n').chars().any(deceives), "{line:?}");
    }

    #[test]
    fn filters_are_checked() {
        assert_eq!(check_filter("info,taskflow_adapters::store=debug"), Ok(()));
        assert!(check_filter("taskflow=loud").is_err());
    }
}
