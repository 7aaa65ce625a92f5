//! The code of columns: Reed-Solomon over GF(2^16) as `format-spec/parity.md` defines it, which is the high rate of the library.

use super::BLOCK_BYTES;
use crate::repo::RepoError;
use reed_solomon_simd::{
    Error,
    engine::DefaultEngine,
    rate::{HighRateDecoder, HighRateEncoder, RateDecoder as _, RateEncoder as _},
};

/// What stands where a member has no block.
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

fn failed(error: Error) -> RepoError {
    RepoError::Internal(format!("parity: {error}"))
}

/// Makes the parity of columns.
pub(super) struct Encoder(HighRateEncoder<DefaultEngine>);

impl Encoder {
    pub fn new(places: usize, rows: usize) -> Result<Self, RepoError> {
        HighRateEncoder::new(places, rows, BLOCK_BYTES, DefaultEngine::new(), None).map(Self).map_err(failed)
    }

    /// The parity blocks of a column, one for each row; a place without a block counts as zeros.
    pub fn column<'a>(
        &mut self,
        blocks: impl Iterator<Item = Option<&'a [u8]>>,
        row: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), RepoError> {
        for block in blocks {
            self.0.add_original_shard(block.unwrap_or(&ZEROS)).map_err(failed)?;
        }
        let encoded = self.0.encode().map_err(failed)?;
        encoded.recovery_iter().enumerate().for_each(|(number, block)| row(number, block));
        Ok(())
    }
}

/// One block of a column, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Block<'a> {
    /// It is right.
    Right(&'a [u8]),
    /// There is none: it counts as zeros.
    Zeros,
    /// It is gone or wrong.
    Lost,
}

/// Finds lost blocks of columns.
pub(super) struct Decoder(HighRateDecoder<DefaultEngine>);

impl Decoder {
    pub fn new(places: usize, rows: usize) -> Result<Self, RepoError> {
        HighRateDecoder::new(places, rows, BLOCK_BYTES, DefaultEngine::new(), None).map(Self).map_err(failed)
    }

    /// The block of one place, out of those of all others and the rows; `None` if too many are lost.
    pub fn find(
        &mut self,
        wanted: usize,
        places: &[Block<'_>],
        rows: &[Option<&[u8]>],
    ) -> Result<Option<Vec<u8>>, RepoError> {
        let lost = places.iter().filter(|block| matches!(block, Block::Lost)).count();
        if rows.iter().flatten().count() < lost {
            return Ok(None);
        }
        for (place, block) in places.iter().enumerate() {
            match block {
                Block::Right(block) => self.0.add_original_shard(place, block).map_err(failed)?,
                Block::Zeros => self.0.add_original_shard(place, &ZEROS[..]).map_err(failed)?,
                Block::Lost => {}
            }
        }
        for (row, block) in rows.iter().enumerate() {
            if let Some(block) = block {
                self.0.add_recovery_shard(row, block).map_err(failed)?;
            }
        }
        let decoded = self.0.decode().map_err(failed)?;
        Ok(decoded.restored_original(wanted).map(<[u8]>::to_vec))
    }
}
