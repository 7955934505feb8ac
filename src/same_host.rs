//! Routes that change or copy data answer clients on the server's own host only.

use axum::Json;
use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};

/// Middleware that lets requests from this host pass: by address and by `Host`, against names that others point to this
/// host; and only those that say they are JSON, which no page in a browser can send elsewhere unasked.
pub async fn only(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    match refused(peer, &request) {
        Some((status, message)) => (status, Json(json!({ "error": message }))).into_response(),
        None => next.run(request).await,
    }
}

fn refused(peer: SocketAddr, request: &Request) -> Option<(StatusCode, &'static str)> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !peer.ip().to_canonical().is_loopback() || !names_this_host(header(header::HOST)) {
        return Some((StatusCode::FORBIDDEN, "this is answered on the server's own host only: run the command there"));
    }
    let json = header(header::CONTENT_TYPE).starts_with("application/json");
    (request.method() != Method::GET && !json)
        .then_some((StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the request as application/json"))
}

fn names_this_host(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_host_are_accepted() {
        for own in ["127.0.0.1:4319", "localhost", "localhost:4319", "[::1]:4319", "[::1]"] {
            assert!(names_this_host(own), "{own}");
        }
        for other in ["", "example.com:4319", "192.168.0.1:4319", "localhost.example.com", "127.0.0.1.example.com:80"] {
            assert!(!names_this_host(other), "{other}");
        }
    }
}
