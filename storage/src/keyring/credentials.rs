//! What a request says about who it is from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::borrow::Cow;

/// The key that came with a request.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// None came.
    Missing,
    /// This one.
    Key(Cow<'a, str>),
    /// Something came that holds no key.
    Unreadable,
}

impl<'a> Credentials<'a> {
    /// Reads `authorization: Bearer KEY`, `authorization: Basic` with the key as password, or `x-api-key: KEY`; `header`
    /// finds the value of a header by its name in lower case.
    pub fn from_headers(header: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        let text = |name| header(name).map(|value| std::str::from_utf8(value).map(str::trim));
        match (text("authorization"), text("x-api-key")) {
            (None, None) => Self::Missing,
            (Some(Ok(value)), _) => Self::from_authorization(value),
            (None, Some(Ok(key))) if !key.is_empty() => Self::Key(Cow::Borrowed(key)),
            _ => Self::Unreadable,
        }
    }

    /// Reads the value of an `authorization` header.
    pub fn from_authorization(value: &'a str) -> Self {
        let (scheme, rest) = value.split_once(' ').unwrap_or(("", value));
        let rest = rest.trim();
        let key = match scheme.to_ascii_lowercase().as_str() {
            "bearer" => Some(Cow::Borrowed(rest)),
            "basic" => password(rest).map(Cow::Owned),
            _ => None,
        };
        match key {
            Some(key) if !key.is_empty() => Self::Key(key),
            _ => Self::Unreadable,
        }
    }
}

/// Keys are not for logs.
impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "Missing",
            Self::Key(_) => "Key(..)",
            Self::Unreadable => "Unreadable",
        })
    }
}

fn password(encoded: &str) -> Option<String> {
    // Arrow's Flight clients leave the padding away, HTTP clients have it.
    let text = String::from_utf8(STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_wherever_clients_can_put_it() {
        let read = |name: &'static str, value: &'static str| {
            Credentials::from_headers(move |asked| (asked == name).then_some(value.as_bytes()))
        };
        let key = Credentials::Key(Cow::Borrowed("pk_live_x"));
        assert_eq!(read("authorization", "Bearer pk_live_x"), key);
        assert_eq!(read("authorization", "bearer  pk_live_x "), key);
        assert_eq!(read("authorization", "Basic YW55Ym9keTpwa19saXZlX3g="), key);
        assert_eq!(read("authorization", "Basic YW55Ym9keTpwa19saXZlX3g"), key, "as Arrow's Flight clients send it");
        assert_eq!(read("x-api-key", "pk_live_x"), key);
        assert_eq!(read("accept", "x"), Credentials::Missing);
        for wrong in ["", "Bearer", "Bearer ", "Digest x", "Basic !", "Basic eA==", "pk_live_x"] {
            assert_eq!(read("authorization", wrong), Credentials::Unreadable, "{wrong}");
        }
    }
}
