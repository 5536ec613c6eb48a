//! An archive in memory, fed with outcomes as history would be.

use ledger::{
    Archive, ArchiveFault, Outcome, Resolution, Row, RowKind, RowNumber, TimestampNs, TransferFlags,
    TransferId, Used,
};
use std::collections::HashMap;

/// Finds every row that it was given, for ever.
#[derive(Clone, Debug, Default)]
pub struct MemoryArchive {
    rows: Vec<Row>,
    used: HashMap<TransferId, (RowNumber, Used)>,
    resolutions: HashMap<TransferId, (RowNumber, Resolution)>,
    timestamps: HashMap<TimestampNs, RowNumber>,
}

impl MemoryArchive {
    /// Takes the rows of an outcome; those that it has already (a replay) must be the same.
    ///
    /// # Panics
    /// When rows are left out or differ from what was given before.
    pub fn append(&mut self, outcome: &Outcome) {
        for (index, row) in outcome.rows.iter().enumerate() {
            let number = RowNumber(outcome.first_row.0 + index as u64);
            if let Some(before) = self.rows.get(number.0 as usize) {
                assert_eq!(before, row, "a replayed row differs from what it was");
                continue;
            }
            assert_eq!(number, self.rows(), "a row is missing before this one");
            self.rows.push(*row);
            let transfer = row.transfer;
            let metadata = outcome
                .row_metadata
                .iter()
                .find(|(of, _)| *of as usize == index)
                .map(|(_, sealed)| sealed.clone());
            match row.kind {
                RowKind::Applied => {
                    self.used
                        .insert(transfer.id, (number, Used::Applied { transfer, metadata }));
                    self.timestamps.insert(transfer.timestamp, number);
                    if transfer.pending_id.0 != 0 {
                        let void = transfer.flags.contains(TransferFlags::VOID_PENDING_TRANSFER);
                        let resolution = if void {
                            Resolution::Voided
                        } else {
                            Resolution::Posted
                        };
                        self.resolutions.insert(transfer.pending_id, (number, resolution));
                    }
                }
                RowKind::Expired => {
                    self.timestamps.insert(transfer.timestamp, number);
                    self.resolutions
                        .insert(transfer.pending_id, (number, Resolution::Expired));
                }
                RowKind::Burnt => {
                    self.used.insert(transfer.id, (number, Used::Burnt));
                }
            }
        }
    }

    /// The number of the next row.
    #[must_use]
    pub fn rows(&self) -> RowNumber {
        RowNumber(self.rows.len() as u64)
    }

    /// Every row, in order.
    #[must_use]
    pub fn all(&self) -> &[Row] {
        &self.rows
    }
}

impl Archive for MemoryArchive {
    fn find(&self, id: TransferId, before: RowNumber) -> Result<Option<Used>, ArchiveFault> {
        assert!(
            before <= self.rows(),
            "the archive is asked about rows that it never got"
        );
        Ok(self
            .used
            .get(&id)
            .filter(|(row, _)| *row < before)
            .map(|(_, used)| used.clone()))
    }

    fn resolution(&self, pending: TransferId, before: RowNumber) -> Result<Option<Resolution>, ArchiveFault> {
        assert!(
            before <= self.rows(),
            "the archive is asked about rows that it never got"
        );
        Ok(self
            .resolutions
            .get(&pending)
            .filter(|(row, _)| *row < before)
            .map(|&(_, resolution)| resolution))
    }

    fn timestamp_taken(&self, timestamp: TimestampNs, before: RowNumber) -> Result<bool, ArchiveFault> {
        Ok(self.timestamps.get(&timestamp).is_some_and(|row| *row < before))
    }
}
