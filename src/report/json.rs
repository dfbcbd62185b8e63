//! An object a line, for programs: `{"time":…,"code":"QTZ-002","level":"info","subject":…,"text":…,"fields":{…}}`.
//!
//! Progress has the code `CLI-005` and the fields `done` and `total`: bytes, or what `unit` names. Keys are added, never renamed.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::pace::Pace;
use super::{level_name, write_line};
use crate::base::redact::Redactor;
use crate::event::{Code, Event, Observer, Progress, Unit};
use crate::github::command::harmless_json;

/// Writes an object an event, of every level.
pub struct Json<W> {
    state: Mutex<(W, Pace)>,
    clock: fn() -> Timestamp,
    redactor: Redactor,
}

impl<W: Write> Json<W> {
    /// Writes to `out`.
    pub fn new(out: W, clock: fn() -> Timestamp, redactor: Redactor) -> Self {
        Json { state: Mutex::new((out, Pace::default())), clock, redactor }
    }

    fn object(
        &self,
        code: Code,
        subject: Option<&str>,
        text: &str,
        fields: Map<String, Value>,
        now: Timestamp,
    ) -> String {
        let mut object = json!({
            "time": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "code": code.text(),
            "level": level_name(code.level()),
        });
        if let Some(subject) = subject {
            object["subject"] = json!(subject);
        }
        object["text"] = json!(text);
        if !fields.is_empty() {
            object["fields"] = Value::Object(fields);
        }
        redact(&mut object, &self.redactor);
        harmless_json(&object.to_string()).into_owned()
    }
}

impl<W: Write + Send> Observer for Json<W> {
    fn event(&self, event: Event) {
        let fields = event.fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let line = self.object(event.code, event.subject.as_deref(), &event.text, fields, (self.clock)());
        write_line(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).0, line);
    }

    fn progress(&self, progress: Progress) {
        let now = (self.clock)();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pulse) = state.1.pulse(&progress, now) {
            let mut fields = Map::new();
            fields.insert("done".to_owned(), progress.done.into());
            fields.insert("total".to_owned(), progress.total.into());
            if let Unit::Things(name) = progress.unit {
                fields.insert("unit".to_owned(), name.into());
            }
            let text = format!("{} %", pulse.percent);
            let line = self.object(Code::Progressed, Some(&progress.task), &text, fields, now);
            write_line(&mut state.0, line);
        }
    }
}

/// Takes the secrets out of every text in a value.
fn redact(value: &mut Value, redactor: &Redactor) {
    match value {
        Value::String(text) => *text = redactor.redact(text).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| redact(item, redactor)),
        Value::Object(map) => map.values_mut().for_each(|value| redact(value, redactor)),
        _ => {}
    }
}
