//! The daemon's API as any client sees it: HTTP on its socket.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A client.
pub struct Api(PathBuf);

/// What it was answered.
#[derive(Debug)]
pub struct ApiAnswer {
    pub code: u16,
    headers: Vec<(String, String)>,
    pub body: Value,
}

impl Api {
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self(socket.to_owned())
    }

    /// # Errors
    /// Nobody answers, or not with HTTP.
    pub fn get(&self, path: &str) -> Result<ApiAnswer> {
        self.ask("GET", path, &[], None)
    }

    /// Writes an object. `seen`: the tag for `If-Match`.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub fn put(&self, path: &str, seen: Option<&str>, body: &Value) -> Result<ApiAnswer> {
        self.write("PUT", path, seen, Some(body))
    }

    /// The same with any method.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub fn write(
        &self,
        method: &str,
        path: &str,
        seen: Option<&str>,
        body: Option<&Value>,
    ) -> Result<ApiAnswer> {
        let condition = seen.map(|tag| ("if-match", tag));
        self.ask(method, path, condition.as_slice(), body)
    }

    /// A request on a connection of its own.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<ApiAnswer> {
        let body = body.map_or_else(String::new, Value::to_string);
        let headers: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut stream = UnixStream::connect(&self.0)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: lb\r\nconnection: close\r\n{headers}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        ApiAnswer::parse(&String::from_utf8(answer)?)
    }
}

impl ApiAnswer {
    fn parse(text: &str) -> Result<Self> {
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| text.to_owned())?;
        let mut lines = head.lines();
        let first = lines.next().context("no line")?;
        let code = first.split(' ').nth(1).context("no code")?.parse()?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let body = match body.is_empty() {
            true => Value::Null,
            false => serde_json::from_str(body).with_context(|| text.to_owned())?,
        };
        Ok(Self { code, headers: headers.collect(), body })
    }

    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(found, _)| found == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// The tag of its object.
    ///
    /// # Errors
    /// There is none.
    pub fn tag(&self) -> Result<&str> {
        self.header("etag").with_context(|| format!("no tag in {self:?}"))
    }

    /// The answer, if it has this code.
    ///
    /// # Errors
    /// It has another one.
    pub fn expect(self, code: u16) -> Result<Self> {
        ensure!(self.code == code, "not {code}: {self:?}");
        Ok(self)
    }

    /// The pointers of a problem's violations.
    #[must_use]
    pub fn pointers(&self) -> Vec<&str> {
        let violations = self.body["violations"].as_array();
        let pointers = violations.into_iter().flatten().map(|it| it["pointer"].as_str());
        pointers.map(|pointer| pointer.unwrap_or("(elsewhere)")).collect()
    }
}
