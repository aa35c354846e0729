//! Bodies of requests: JSON of a bounded size.

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::refusal::Refused;

/// Bytes of a body: a change of some ten thousand services.
const MAX_BODY: usize = 16 << 20;

/// A body that is JSON. An absent one is `null`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        check_type(request.headers())?;
        let bytes = read(request.into_body()).await?;
        let text = if bytes.is_empty() { &b"null"[..] } else { &bytes };
        let value = serde_json::from_slice(text);
        value
            .map(Self)
            .map_err(|error| Refused::malformed(format!("the body is not valid: {error}")))
    }
}

async fn read(body: Body) -> Result<axum::body::Bytes, Refused> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refused::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("a body may have {MAX_BODY} bytes"),
        )),
        Err(error) => Err(Refused::malformed(error.to_string())),
    }
}

/// A body that says nothing of its type is taken for JSON.
fn check_type(headers: &HeaderMap) -> Result<(), Refused> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let kind = kind.to_str().unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known = ["application/json", "application/merge-patch+json"];
    // What curl says of `--data` without being asked.
    if known.contains(&&*essence) || essence == "application/x-www-form-urlencoded" {
        return Ok(());
    }
    let detail = format!("`{kind}` is not read here: send application/json");
    Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail))
}
