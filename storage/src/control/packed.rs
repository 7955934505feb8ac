//! The correlator's state as it is kept: a zstd frame. Events that wait for events to come are many and alike.

use crate::StorageError;
use crate::flush::blocking;
use std::path::Path;

/// First bytes of a zstd frame.
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const LEVEL: i32 = 1;

/// Packs `state`, on a thread that may block.
pub(super) async fn pack(state: Vec<u8>, path: &Path) -> Result<Vec<u8>, StorageError> {
    let path = path.to_owned();
    let packed = move || zstd::bulk::compress(&state, LEVEL).map_err(StorageError::file("pack state for", &path));
    blocking("packing of the correlator's state", packed).await
}

/// The state in `stored`; what earlier versions stored was not packed.
pub(super) async fn unpack(stored: Vec<u8>, path: &Path) -> Result<Vec<u8>, StorageError> {
    if !stored.starts_with(&FRAME) {
        return Ok(stored);
    }
    let path = path.to_owned();
    let state = move || zstd::decode_all(&stored[..]).map_err(StorageError::file("unpack state of", &path));
    blocking("unpacking of the correlator's state", state).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn state_comes_back_as_it_was_and_so_does_state_that_was_never_packed() {
        let path = Path::new("control.db");
        let state: Vec<u8> = b"WHCS\x01".iter().chain(&[7; 10_000]).copied().collect();
        let packed = pack(state.clone(), path).await.unwrap();
        assert!(packed.len() < 200, "{}", packed.len());
        assert_eq!(unpack(packed.clone(), path).await.unwrap(), state);
        assert_eq!(unpack(state.clone(), path).await.unwrap(), state);
        assert!(unpack(packed[..packed.len() - 1].to_vec(), path).await.is_err());
    }
}
