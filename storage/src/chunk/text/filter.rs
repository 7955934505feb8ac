//! A Bloom filter of split blocks, as the format of Parquet describes it ("Bloom Filter", split block algorithm): an id has
//! one bit in each of the eight words of one block. It begins as large as it may be and is folded while it is nearly empty,
//! so that nobody has to know beforehand how many ids there will be.

use crate::chunk::layout::ROW_GROUP_ROWS;

type Block = [u32; 8];

const BLOCK_BYTES: usize = size_of::<Block>();
/// A byte for each row of a row group.
const MOST_BLOCKS: usize = (ROW_GROUP_ROWS / BLOCK_BYTES).next_power_of_two();
/// What a row group of few rows may have all the same.
const FEW_BLOCKS: usize = 4_096 / BLOCK_BYTES;
/// Share of bits up to which a filter is folded: one false answer in 200.
const FOLDED_BITS: f64 = 0.52;
/// Share of bits beyond which it is no use: one false answer in four.
const MOST_BITS: f64 = 0.84;
/// Odd numbers that spread the bits, from the format.
const SALT: Block =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A filter that ids are put into.
pub(super) struct FilterBuilder {
    blocks: Vec<Block>,
}

impl FilterBuilder {
    pub(super) fn new() -> Self {
        Self { blocks: vec![[0; 8]; MOST_BLOCKS] }
    }

    pub(super) fn insert(&mut self, id: u64) {
        let count = self.blocks.len();
        let block = &mut self.blocks[block_of(id, count)];
        for (word, salt) in block.iter_mut().zip(SALT) {
            *word |= bit(id, salt);
        }
    }

    /// The bytes of the filter for so many rows, and an empty builder; `None` if there are too many ids.
    pub(super) fn take(&mut self, rows: usize) -> Option<Vec<u8>> {
        let allowed = (rows / BLOCK_BYTES).next_power_of_two().clamp(FEW_BLOCKS, MOST_BLOCKS);
        let mut blocks = self.blocks.clone();
        self.blocks.fill([0; 8]);
        while blocks.len() > allowed {
            blocks = folded(&blocks);
        }
        while blocks.len() > 1 {
            let smaller = folded(&blocks);
            if share(&smaller) > FOLDED_BITS {
                break;
            }
            blocks = smaller;
        }
        let words = blocks.iter().flatten().flat_map(|word| word.to_le_bytes());
        (share(&blocks) <= MOST_BITS).then(|| words.collect())
    }
}

/// Whether an id may have been put into a filter.
pub(super) fn is_in(filter: &[u8], id: u64) -> bool {
    let count = filter.len() / BLOCK_BYTES;
    if !count.is_power_of_two() {
        return true;
    }
    let start = block_of(id, count) * BLOCK_BYTES;
    let words = filter[start..start + BLOCK_BYTES].chunks_exact(4);
    words.zip(SALT).all(|(word, salt)| u32::from_le_bytes([word[0], word[1], word[2], word[3]]) & bit(id, salt) != 0)
}

/// The upper half gives the block, so that its low bits stay when half of the blocks are laid on the other half.
fn block_of(id: u64, count: usize) -> usize {
    (id >> 32) as usize & (count - 1)
}

fn bit(id: u64, salt: u32) -> u32 {
    1 << ((id as u32).wrapping_mul(salt) >> 27)
}

fn folded(blocks: &[Block]) -> Vec<Block> {
    let (low, high) = blocks.split_at(blocks.len() / 2);
    low.iter().zip(high).map(|(a, b)| std::array::from_fn(|word| a[word] | b[word])).collect()
}

fn share(blocks: &[Block]) -> f64 {
    let ones: u32 = blocks.iter().flatten().map(|word| word.count_ones()).sum();
    f64::from(ones) / (blocks.len() * BLOCK_BYTES * 8) as f64
}
