//! Extended CONNECT (RFC 8441): WebSocket over one stream of an HTTP/2 connection. Backends see the
//! upgrade of HTTP/1.1 that they know.

use std::rc::Rc;

use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::Incoming,
    ext::Protocol,
    header::{self, HeaderValue},
    upgrade::{OnUpgrade, on},
};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::client::Client;
use crate::proxy::{
    downstream::activity::Activity,
    http::{fault::Fault, fields::is_protocol},
    net::relay::relay,
    upstream::{lease::UpgradedBackend, response_body::ResponseBody},
};

/// The stream behind the request, which becomes an upgrade. `None` where it is any other, or for a
/// protocol that no connection may switch to: that one is answered like a plain CONNECT.
pub(crate) fn translate(request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    if request.method() != Method::CONNECT {
        return None;
    }
    let protocol = request.extensions_mut().remove::<Protocol>()?;
    let protocol = Some(protocol.as_str()).filter(|it| is_protocol(it.as_bytes()))?;
    let protocol = HeaderValue::from_str(protocol).ok()?;
    let upgrade = on(&mut *request);
    *request.method_mut() = Method::GET;
    let headers = request.headers_mut();
    if protocol == "websocket" {
        // RFC 8441 5.1: the key has no use over HTTP/2, and a backend wants one.
        headers.insert(header::SEC_WEBSOCKET_KEY, key());
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
    Some(upgrade)
}

/// Sixteen random bytes in base64 (RFC 6455 4.1). Random only so that no cache knows the answer.
fn key() -> HeaderValue {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text: Vec<u8> = (0..21).map(|_| ALPHABET[fastrand::usize(..64)]).collect();
    // Sixteen bytes end in two bits of the last letter.
    text.extend_from_slice(&[ALPHABET[fastrand::usize(..4) << 4], b'=', b'=']);
    HeaderValue::from_bytes(&text).expect("letters, digits and signs")
}

/// The response to one that `translate` made: `200` where the backend has switched, and the stream
/// is relayed from then on. Any other success would be taken for that (RFC 9110 9.3.6).
pub(crate) fn agree(
    client: &Rc<Client>,
    mut response: Response<ResponseBody>,
    upgrade: OnUpgrade,
    switched: Option<Box<UpgradedBackend>>,
    activity: &Rc<Activity>,
) -> Response<ResponseBody> {
    let Some(switched) = switched else {
        if !response.status().is_success() {
            return response;
        }
        let refusal = client.refuse(Fault::BadResponse, Version::HTTP_2);
        return refusal.map(|text| ResponseBody::own(text, activity.begin(false)));
    };
    *response.status_mut() = StatusCode::OK;
    for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT] {
        response.headers_mut().remove(name);
    }
    let active = activity.begin(false);
    let client = client.clone();
    spawn_local(async move {
        let Ok(stream) = upgrade.await else { return };
        let stream = (TokioIo::new(stream), hyper::body::Bytes::new());
        let end = switched.upstreams.expelled(&switched.server);
        if let Err(error) = relay(stream, switched.backend, switched.timeouts, end).await {
            tracing::debug!(client = %client.peer, %error, "upgraded stream ended");
        }
        drop((switched.admission, active));
    });
    response
}
