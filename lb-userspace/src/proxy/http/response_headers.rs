//! What a service's responses say beside what its servers said.

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use crate::service::HttpOptions;

/// The port's `http_options.response`.
pub(crate) struct ResponseHeaders {
    /// Without a value: removed.
    headers: Vec<(HeaderName, Vec<HeaderValue>)>,
    /// Nothing of our own is added.
    pub is_pristine: bool,
}

impl ResponseHeaders {
    /// What the configuration checked already is not asked again.
    pub(crate) fn new(options: &HttpOptions) -> Self {
        let headers = options.response_headers.iter().filter_map(|(name, values)| {
            let values = values.iter().filter_map(|value| HeaderValue::from_str(value).ok());
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, values.collect()))
        });
        Self { headers: headers.collect(), is_pristine: options.pristine }
    }

    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for (name, values) in &self.headers {
            headers.remove(name);
            for value in values {
                headers.append(name, value.clone());
            }
        }
    }
}
