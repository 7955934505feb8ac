//! One exchange of SCRAM-SHA-256 (RFC 5802, RFC 7677) on the server's side; without channel binding, which is not offered.
//!
//! ```text
//! n,,n=,r=NONCE  ->  Exchange::begin  ->  r=NONCE+OURS,s=SALT,i=ROUNDS
//! c=biws,r=NONCE+OURS,p=PROOF  ->  Exchange::proof  ->  what Keyring::authenticate_proof looks at
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use whence_storage::ScramParameters;

/// Longest message of an exchange, in bytes: PostgreSQL's clients send some hundred.
const LONGEST_MESSAGE: usize = 4_096;

/// What PostgreSQL clients call it.
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";

/// A message that is none of the exchange, with the reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// An exchange that waits for the client's proof.
#[derive(Debug)]
pub(super) struct Exchange {
    /// `n,,` or the like, as the client must repeat it.
    header: String,
    client_first_bare: String,
    nonce: String,
    server_first: String,
}

/// What the client sent to prove that it has a key.
#[derive(Debug)]
pub(super) struct Proof {
    /// AuthMessage of RFC 5802, section 3.
    pub(super) auth_message: String,
    /// ClientProof.
    pub(super) proof: Vec<u8>,
}

impl Exchange {
    /// Reads the client's first message; the user name in it means nothing.
    pub(super) fn begin(message: &[u8], parameters: &ScramParameters, own_nonce: &str) -> Result<Self, Malformed> {
        let text = text_of(message)?;
        // gs2-header: flag, then optionally another identity, each with a comma.
        let end = text.match_indices(',').nth(1).map(|(at, _)| at + 1).ok_or(Malformed("no header"))?;
        let (header, bare) = text.split_at(end);
        match header.as_bytes().first() {
            Some(b'n' | b'y') if header[1..].starts_with(',') => {}
            _ => return Err(Malformed("channel binding was not offered")),
        }
        let nonce = attribute(bare, 'r').filter(|nonce| !nonce.is_empty()).ok_or(Malformed("no nonce"))?;
        if attribute(bare, 'm').is_some() {
            return Err(Malformed("an extension that is not known here"));
        }
        let nonce = format!("{nonce}{own_nonce}");
        let salt = STANDARD.encode(&parameters.salt);
        let server_first = format!("r={nonce},s={salt},i={}", parameters.iterations);
        Ok(Self { header: header.to_owned(), client_first_bare: bare.to_owned(), nonce, server_first })
    }

    /// The server's answer to the client's first message.
    pub(super) fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Reads the client's last message.
    pub(super) fn proof(&self, message: &[u8]) -> Result<Proof, Malformed> {
        let text = text_of(message)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Malformed("no proof"))?;
        if attribute(without_proof, 'c') != Some(&STANDARD.encode(&self.header)) {
            return Err(Malformed("the header has changed since the first message"));
        }
        if attribute(without_proof, 'r') != Some(&self.nonce) {
            return Err(Malformed("the nonce is of another exchange"));
        }
        let proof = STANDARD.decode(proof).map_err(|_| Malformed("the proof is no base64"))?;
        let auth_message = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        Ok(Proof { auth_message, proof })
    }
}

/// The server's last message.
pub(super) fn server_final(signature: &[u8]) -> String {
    format!("v={}", STANDARD.encode(signature))
}

fn text_of(message: &[u8]) -> Result<&str, Malformed> {
    if message.len() > LONGEST_MESSAGE {
        return Err(Malformed("the message is too long"));
    }
    std::str::from_utf8(message).map_err(|_| Malformed("the message is not UTF-8"))
}

fn attribute(text: &str, name: char) -> Option<&str> {
    text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example conversation of RFC 7677, section 3.
    #[test]
    fn the_exchange_of_the_specification_gives_its_messages() {
        let parameters =
            ScramParameters { salt: STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), iterations: 4_096 };
        let begin = |message: &[u8]| Exchange::begin(message, &parameters, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        let exchange = begin(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        assert_eq!(exchange.server_first(), format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
        let last = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let proof = exchange.proof(last.as_bytes()).unwrap();
        assert_eq!(proof.proof.len(), 32);
        let expected = format!("n=user,r=rOprNGfwEbeRWgbNEkqO,{},c=biws,r={nonce}", exchange.server_first());
        assert_eq!(proof.auth_message, expected);
        for wrong in [
            format!("c=biws,r={nonce}"),
            format!("c=eSws,r={nonce},p=dHzb"),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO,p=dHzb".to_owned(),
            format!("c=biws,r={nonce},p=!"),
        ] {
            assert!(exchange.proof(wrong.as_bytes()).is_err(), "{wrong}");
        }
        for wrong in
            ["", "n,,", "n,,n=user", "n,,n=user,r=", "p=tls-server-end-point,,n=,r=x", "n,,m=x,n=,r=x", "x,,r=x"]
        {
            assert!(begin(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(begin(&[0xff; 10]).is_err() && begin(&vec![b'a'; 5_000]).is_err());
        assert!(begin(b"y,,n=*,r=abc").is_ok());
    }
}
