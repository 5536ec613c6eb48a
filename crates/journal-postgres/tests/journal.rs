//! Appending and reading where nothing fails.

mod common;

use common::{World, is_as_written};
use journal::{Journal, JournalError};
use ledger::Height;

#[test]
fn blocks_are_read_as_they_were_written_over_many_partitions_and_terms() {
    let world = World::start(2);
    for (id, until) in [(1_u128, 3_u64), (2, 20), (3, 21), (4, 45)] {
        let mut writer = world.writer(id);
        writer.fill(until);
        let head = writer.journal.head();
        assert_eq!(head.epoch, id as u64, "each term's epoch is above the last");
        let reader = writer.journal.reader();
        assert_eq!(reader.head(), Height(until));
        let blocks: Vec<_> = reader.scan(Height(1)).map(Result::unwrap).collect();
        assert_eq!(blocks.len() as u64, until);
        assert_eq!(blocks.last().unwrap().hash, head.hash);
        let written = blocks.iter().filter(|block| is_as_written(block, 1)).count();
        assert_eq!(
            written as u128,
            u128::from(until) - id,
            "all but the epoch blocks"
        );
        for height in [1, until / 2 + 1, until] {
            assert_eq!(reader.read(Height(height)).unwrap(), blocks[height as usize - 1]);
        }
        assert!(matches!(
            reader.read(Height(until + 1)),
            Err(JournalError::NoBlock { .. })
        ));
        assert!(matches!(
            reader.read(Height(0)),
            Err(JournalError::NoBlock { .. })
        ));
    }
}
