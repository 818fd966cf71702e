//! The line of a request as JSON, the same as `tracing_subscriber` makes it in a fraction of its time:
//! that one goes through serde piece by piece, with a check of each for UTF-8, and these lines are most
//! of what is logged.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The target of the lines that are written here.
const ACCESS: &str = "fedgate::access";

/// Lines of JSON, each with its fields beside time, level and target.
pub(crate) struct JsonLines(Format<Json>);

impl JsonLines {
    /// The form of all lines.
    pub(crate) fn new() -> Self {
        Self(tracing_subscriber::fmt::format().json().flatten_event(true))
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if metadata.target() != ACCESS || context.lookup_current().is_some() {
            return self.0.format_event(context, writer, event);
        }
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(metadata.level().as_str())?;
        writer.write_str("\"")?;
        let mut fields = Fields { writer, result: Ok(()) };
        event.record(&mut fields);
        let Fields { mut writer, result } = fields;
        result?;
        writer.write_str(",\"target\":\"")?;
        writer.write_str(ACCESS)?;
        writer.write_str("\"}\n")
    }
}

/// Writes fields as further members of an object.
struct Fields<'w> {
    writer: Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let name = field.name();
        let writer = &mut self.writer;
        self.result = self
            .result
            .and_then(|()| writer.write_str(",\""))
            .and_then(|()| Escaped(writer).write_str(name))
            .and_then(|()| writer.write_str("\":"))
            .and_then(|()| value(writer));
    }

    fn string(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.member(field, |writer| {
            writer.write_str("\"")?;
            Escaped(writer).write_fmt(value)?;
            writer.write_str("\"")
        });
    }
}

impl Visit for Fields<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // In the shortest way, and no way for what is no number.
        self.member(field, |writer| write!(writer, "{}", serde_json::Value::from(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.string(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.string(field, format_args!("{value:?}"));
    }
}

/// Writes text as it stands within the quotes of JSON.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        if text.bytes().all(is_plain) {
            return self.0.write_str(text);
        }
        let quoted = serde_json::to_string(text).map_err(|_error| fmt::Error)?;
        let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        self.0.write_str(inner.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::fmt::format::JsonFields;

    use super::*;
    use crate::cli::log::tests::Output;

    struct To(Output);

    impl<'a> MakeWriter<'a> for To {
        type Writer = Output;

        fn make_writer(&'a self) -> Output {
            self.0.clone()
        }
    }

    /// What is logged meanwhile, without the times.
    fn logged<E>(format: E, log: impl Fn()) -> String
    where
        E: FormatEvent<tracing_subscriber::Registry, JsonFields> + Send + Sync + 'static,
    {
        let output = Output::default();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(format)
            .with_writer(To(output.clone()))
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let untimed = |line: &str| {
            let (begin, rest) = line.split_once("\"timestamp\":\"").unwrap();
            format!("{begin}\"timestamp\":\"{}\n", rest.trim_start_matches(|c| c != '"'))
        };
        output.text().lines().map(untimed).collect()
    }

    #[test]
    fn lines_of_requests_are_those_of_tracing_subscriber() {
        let log = || {
            let hostile = "a \"quoted\" \\ \n \u{7f} \u{1b}[31m \u{e9} \u{0}";
            for text in ["", "plain", hostile] {
                tracing::info!(target: "fedgate::access", text, shown = %text, debug = ?text, "{text}");
            }
            for number in [0.0, 1.0, 0.123, 1_234.5, 1e21, f64::NAN, f64::INFINITY] {
                tracing::warn!(target: "fedgate::access", number);
            }
            let (some, none) = (Some(200_u16), None::<&str>);
            tracing::error!(target: "fedgate::access", some, none, yes = true, minus = -1, "end");
            tracing::info_span!("span", a = 1).in_scope(|| {
                tracing::info!(target: "fedgate::access", "in a span");
            });
            tracing::info!(target: "fedgate::keys", b = "x\"y", "of another kind");
        };
        let ours = logged(JsonLines::new(), log);
        assert_eq!(ours, logged(JsonLines::new().0, log));
        assert_eq!(ours.lines().count(), 13);
        let first = ours.lines().next().unwrap();
        assert_eq!(
            first,
            r#"{"timestamp":"","level":"INFO","message":"","text":"","shown":"","debug":"\"\"","target":"fedgate::access"}"#
        );
    }
}
