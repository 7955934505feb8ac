//! What is kept of a key: enough to recognise it, too little to use it.
//!
//! A key is 40 random letters and digits (238 bits), so none of this can be guessed backwards. The salt is one for all
//! keys of a server. SCRAM (RFC 5802, RFC 7677) makes the server name the salt before it has seen anything of the key,
//! and the user name is free here: a proof is compared with every key.

use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;

/// Rounds of PBKDF2 for new installations: the least that RFC 7677 allows, which is enough for random keys.
pub(crate) const ITERATIONS: u32 = 4_096;
pub(crate) const SALT_BYTES: usize = 16;

/// Salt and rounds of a server, which its PostgreSQL clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramParameters {
    /// Random bytes.
    pub salt: Vec<u8>,
    /// Rounds of PBKDF2.
    pub iterations: u32,
}

/// What the database keeps of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verifier {
    pub(crate) token_hash: Vec<u8>,
    pub(crate) stored_key: Vec<u8>,
    pub(crate) server_key: Vec<u8>,
}

impl Verifier {
    pub(crate) fn new(key: &str, parameters: &ScramParameters) -> Self {
        let rounds = NonZeroU32::new(parameters.iterations).unwrap_or(NonZeroU32::MIN);
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &parameters.salt, key.as_bytes(), &mut salted);
        let client_key = mac(&salted, b"Client Key");
        Self {
            token_hash: token_hash(key, parameters),
            stored_key: sha256(client_key.as_ref()),
            server_key: mac(&salted, b"Server Key").as_ref().to_vec(),
        }
    }

    /// Whether `proof` for `auth_message` was made with this key.
    pub(crate) fn accepts(&self, auth_message: &[u8], proof: &[u8]) -> bool {
        let signature = mac(&self.stored_key, auth_message);
        if proof.len() != signature.as_ref().len() {
            return false;
        }
        let client_key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        // Both sides of this comparison are hashes: how long it takes tells nothing about the key.
        sha256(&client_key) == self.stored_key
    }

    /// The server's own proof that it knows the key's verifier.
    pub(crate) fn server_signature(&self, auth_message: &[u8]) -> Vec<u8> {
        mac(&self.server_key, auth_message).as_ref().to_vec()
    }
}

/// What a bearer token is found by.
pub(crate) fn token_hash(key: &str, parameters: &ScramParameters) -> Vec<u8> {
    mac(&parameters.salt, key.as_bytes()).as_ref().to_vec()
}

fn mac(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    /// The example conversation of RFC 7677, section 3.
    #[test]
    fn the_exchange_of_the_specification_is_accepted_and_answered_as_there() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::new("pencil", &ScramParameters { salt, iterations: 4_096 });
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let message =
            format!("n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}");
        let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        assert!(verifier.accepts(message.as_bytes(), &proof));
        let signature = STANDARD.encode(verifier.server_signature(message.as_bytes()));
        assert_eq!(signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        for wrong in [&proof[..31], &[], &[0; 32][..]] {
            assert!(!verifier.accepts(message.as_bytes(), wrong));
        }
        assert!(!verifier.accepts(b"another exchange", &proof));
    }
}
