//! What survives a restart: the ends that wait, and the exemplars linked lately. Little-endian throughout.
//!
//! ```text
//! "WHCS"  version: u8 = 1
//! tenants: u32, then each  length: u16, name: UTF-8
//! ends:    u32, then each, oldest first (65 bytes)
//!     wanted: u128, own: u128, start: i64 ns, duration: i64 ns, asset: u64 (xxh3 of the name),
//!     tenant: u32 (index above), wait: u8 (low 4 bits: Wait; bit 7: look-up owed), marks: u8, reserved: 3 bytes = 0
//! exemplars: u32, then each  key: u128
//! ```
//!
//! The window does not survive: what it held is in the store, and is looked up there. An end may have been linked by a
//! look-up after this state was saved, and the link committed before the next state was: what is restored is therefore
//! doubtful (see [`Marks::DOUBTFUL`]).

use crate::linker::Linker;
use crate::pending::{End, Lookup, Moment, Wait};
use crate::window::{AssetHash, Marks, TenantIndex};
use whence_schema::{EventId, TenantId, UnixNanos};

const MAGIC: &[u8; 4] = b"WHCS";
const VERSION: u8 = 1;
const BYTES_PER_END: usize = 65;
const BYTES_PER_KEY: usize = 16;
const LOOKUP_OWED: u8 = 0x80;

/// State of another version, or damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnreadableState;

/// The state of `linker` in at most about `limit` bytes, and how many waiting ends, the oldest, did not fit.
pub(crate) fn save(linker: &Linker, limit: usize) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    let tenants = linker.tenants.names();
    put_u32(&mut bytes, tenants.len());
    for tenant in tenants {
        let name = tenant.as_str().as_bytes();
        let name = name.get(..usize::from(u16::MAX)).unwrap_or(name);
        bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(name);
    }
    let ends_limit = limit.saturating_sub(bytes.len()) / BYTES_PER_END;
    let mut ends: Vec<(&End, bool)> = linker.pending.newest_first().take(ends_limit).collect();
    ends.reverse();
    let cut = linker.pending.len() - ends.len();
    bytes.reserve(ends.len() * BYTES_PER_END + 8);
    put_u32(&mut bytes, ends.len());
    for (end, owed) in ends {
        put_end(&mut bytes, end, owed);
    }
    let keys = linker.exemplars.newest(limit.saturating_sub(bytes.len()) / BYTES_PER_KEY);
    put_u32(&mut bytes, keys.len());
    for key in keys {
        bytes.extend_from_slice(&key.to_le_bytes());
    }
    (bytes, cut)
}

/// Puts saved state into a new linker.
///
/// # Errors
///
/// When `bytes` were written by another version or are damaged; the linker may then hold a part of them.
pub(crate) fn restore(linker: &mut Linker, bytes: &[u8]) -> Result<(), UnreadableState> {
    let mut reader = Reader(bytes);
    if reader.take::<4>()? != *MAGIC || reader.take::<1>()? != [VERSION] {
        return Err(UnreadableState);
    }
    let mut tenants = Vec::new();
    for _ in 0..reader.u32()? {
        let length = usize::from(u16::from_le_bytes(reader.take()?));
        let name = std::str::from_utf8(reader.slice(length)?).map_err(|_| UnreadableState)?;
        tenants.push(linker.tenants.index(&TenantId::new(name)));
    }
    for _ in 0..reader.u32()? {
        let (mut end, owed) = reader.end(&tenants)?;
        let lookup = if owed { Lookup::Due } else { Lookup::Settled };
        end.marks = end.marks.with(Marks::RESTORED);
        linker.pending.push(end, Moment::default(), lookup);
    }
    for _ in 0..reader.u32()? {
        linker.exemplars.insert(u128::from_le_bytes(reader.take()?));
    }
    Ok(())
}

fn put_u32(bytes: &mut Vec<u8>, value: usize) {
    bytes.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_end(bytes: &mut Vec<u8>, end: &End, owed: bool) {
    bytes.extend_from_slice(&end.wanted.0.to_le_bytes());
    bytes.extend_from_slice(&end.own.0.to_le_bytes());
    bytes.extend_from_slice(&end.start.0.to_le_bytes());
    bytes.extend_from_slice(&end.duration.to_le_bytes());
    bytes.extend_from_slice(&end.asset.0.to_le_bytes());
    bytes.extend_from_slice(&end.tenant.0.to_le_bytes());
    let owed = if owed { LOOKUP_OWED } else { 0 };
    bytes.extend_from_slice(&[end.wait as u8 | owed, end.marks.0, 0, 0, 0]);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn slice(&mut self, length: usize) -> Result<&'a [u8], UnreadableState> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(UnreadableState)?;
        self.0 = rest;
        Ok(head)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], UnreadableState> {
        self.slice(N)?.try_into().map_err(|_| UnreadableState)
    }

    fn u32(&mut self) -> Result<u32, UnreadableState> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn end(&mut self, tenants: &[TenantIndex]) -> Result<(End, bool), UnreadableState> {
        let wanted = EventId(u128::from_le_bytes(self.take()?));
        let own = EventId(u128::from_le_bytes(self.take()?));
        let start = UnixNanos(i64::from_le_bytes(self.take()?));
        let duration = i64::from_le_bytes(self.take()?).max(0);
        let asset = AssetHash(u64::from_le_bytes(self.take()?));
        let tenant = *tenants.get(self.u32()? as usize).ok_or(UnreadableState)?;
        let [wait, marks, ..] = self.take::<5>()?;
        let owed = wait & LOOKUP_OWED != 0;
        let wait = Wait::from_number(wait & !LOOKUP_OWED).ok_or(UnreadableState)?;
        Ok((End { wanted, own, start, duration, asset, tenant, marks: Marks(marks), wait }, owed))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::linker::LinkerLimits;
    use std::time::Duration;

    /// State as version 1 wrote it: one end of tenant `acme` that waits for its parent, and one exemplar.
    const VERSION_1: &[u8] = include_bytes!("fixtures/state-v1.bin");

    fn linker() -> Linker {
        let limits = LinkerLimits {
            window_bytes: 0,
            pending_bytes: 1 << 16,
            exemplars: 8,
            look_back: Duration::ZERO,
            look_ahead: Duration::ZERO,
        };
        Linker::new(limits, false)
    }

    fn doubtful(end: End) -> End {
        End { marks: end.marks.with(Marks::RESTORED), ..end }
    }

    fn end(tenant: TenantIndex, own: u128) -> End {
        End {
            wanted: EventId(1 << 100),
            own: EventId(own),
            start: UnixNanos(-7),
            duration: 8,
            asset: AssetHash(u64::MAX),
            tenant,
            marks: Marks(Marks::FAILED | Marks::CONSUMER),
            wait: Wait::Parent,
        }
    }

    fn filled(ends: u128) -> Linker {
        let mut linker = linker();
        let tenant = linker.tenants.index(&TenantId::new("acme"));
        (0..ends).for_each(|own| linker.pending.push(end(tenant, own), Moment(5), Lookup::Due));
        linker.exemplars.insert(42);
        linker
    }

    #[test]
    fn what_is_saved_is_restored_also_under_other_tenant_numbers() {
        let (bytes, cut) = save(&filled(3), 1 << 20);
        let mut restored = linker();
        restored.tenants.index(&TenantId::new("another"));
        restore(&mut restored, &bytes).unwrap();
        let ends: Vec<(End, bool)> = restored.pending.newest_first().map(|(end, owed)| (*end, owed)).collect();
        assert_eq!(ends, [2, 1, 0].map(|own| (doubtful(end(TenantIndex(1), own)), true)));
        assert!(!restored.exemplars.insert(42));
        assert_eq!(cut, 0);
    }

    #[test]
    fn a_state_over_its_limit_loses_the_oldest_ends() {
        let (bytes, cut) = save(&filled(100), 1_000);
        assert!(bytes.len() <= 1_000 + 8);
        let mut restored = linker();
        restore(&mut restored, &bytes).unwrap();
        assert_eq!(restored.pending.len() + cut, 100);
        assert_eq!(restored.pending.newest_first().next().map(|(end, _)| end.own), Some(EventId(99)));
    }

    #[test]
    fn state_of_version_1_is_read() {
        let mut restored = linker();
        restore(&mut restored, VERSION_1).unwrap();
        assert_eq!(restored.pending.newest_first().next(), Some((&doubtful(end(TenantIndex(0), 0)), true)));
        assert_eq!(save(&filled(1), 1 << 20).0, VERSION_1, "the layout changed: raise the version");
    }

    #[test]
    fn damaged_state_is_refused_at_every_length_and_never_panics() {
        for length in 0..VERSION_1.len() {
            assert_eq!(restore(&mut linker(), &VERSION_1[..length]), Err(UnreadableState), "{length}");
        }
        let mut other = VERSION_1.to_vec();
        other[4] = 2;
        assert_eq!(restore(&mut linker(), &other), Err(UnreadableState));
    }
}
