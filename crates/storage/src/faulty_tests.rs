//! The faulty file system keeps what was synced, and loses or tears the rest.

use super::*;

fn directory() -> &'static Path {
    Path::new("/data")
}

fn storage(seed: u64) -> (FaultyStorage, PathBuf) {
    let storage = FaultyStorage::new(seed);
    storage.create_directory(directory()).unwrap();
    (storage, directory().join("file"))
}

#[test]
fn what_was_synced_survives_every_crash() {
    for seed in 0..50 {
        let (storage, path) = storage(seed);
        storage.replace(&path, &[1; 5000]).unwrap();
        let file = storage.open(&path).unwrap();
        file.write_all_at(&[2; 1024], 1024).unwrap();
        storage.crash();
        assert!(file.sync_data().is_err());
        storage.restart();
        let bytes = storage.read(&path).unwrap();
        assert_eq!(bytes.len(), 5000, "seed {seed}");
        for (sector, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
            let was_written = (2..4).contains(&sector);
            let is_old = bytes.iter().all(|&byte| byte == 1);
            let is_new = bytes.iter().all(|&byte| byte == 2);
            assert!(is_old || (was_written && is_new), "seed {seed}, sector {sector}");
        }
    }
}

#[test]
fn crashes_keep_lose_and_tear_what_was_not_synced() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let (storage, path) = storage(seed);
        storage.replace(&path, &[1; 1024]).unwrap();
        storage.open(&path).unwrap().write_all_at(&[2; 1024], 0).unwrap();
        storage.crash();
        storage.restart();
        let bytes = storage.read(&path).unwrap();
        seen.insert((bytes[0], bytes[1023]));
    }
    assert_eq!(seen, BTreeSet::from([(1, 1), (1, 2), (2, 1), (2, 2)]));
}

#[test]
fn a_name_may_be_lost_until_its_directory_is_synced() {
    let mut kept = BTreeSet::new();
    for seed in 0..50 {
        let (storage, path) = storage(seed);
        storage.create(&path).unwrap().sync_data().unwrap();
        storage.crash();
        storage.restart();
        kept.insert(storage.exists(&path).unwrap());

        let other = directory().join("other");
        storage.create(&other).unwrap();
        storage.sync_directory(directory()).unwrap();
        storage.crash();
        storage.restart();
        assert!(storage.exists(&other).unwrap());
    }
    assert_eq!(kept, BTreeSet::from([false, true]));
}

#[test]
fn a_failed_sync_forgets_what_it_was_to_write() {
    let (storage, path) = storage(1);
    storage.replace(&path, &[1; 512]).unwrap();
    let file = storage.open(&path).unwrap();
    file.write_all_at(&[2; 512], 0).unwrap();
    storage.plan(Operation::Sync, 0, Fault::Io);
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(storage.read(&path).unwrap(), [2; 512]);
    storage.crash();
    storage.restart();
    assert_eq!(storage.read(&path).unwrap(), [1; 512]);
}

#[test]
fn a_full_disk_takes_a_part_and_goes_on_when_there_is_room() {
    let (storage, path) = storage(1);
    storage.set_capacity(Some(1000));
    let file = storage.create(&path).unwrap();
    file.write_all_at(&[1; 600], 0).unwrap();
    let error = file.write_all_at(&[2; 600], 600).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.length().unwrap(), 1000);
    file.write_all_at(&[3; 1000], 0).unwrap();
    storage.set_capacity(None);
    file.write_all_at(&[2; 600], 600).unwrap();
    assert_eq!(storage.read(&path).unwrap().len(), 1200);
}

#[test]
fn everything_fails_between_a_crash_and_the_restart() {
    let (storage, path) = storage(1);
    storage.crash_at(storage.operations() + 1);
    let file = storage.create(&path).unwrap();
    assert!(file.write_all_at(b"lost", 0).is_err());
    assert!(storage.has_crashed());
    assert!(storage.exists(&path).is_err());
    assert!(storage.open(&path).is_err());
    assert!(storage.sync_directory(directory()).is_err());
    storage.restart();
    assert!(file.length().is_err(), "a handle of the life before is dead");
    storage.exists(&path).unwrap();
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let run = |seed| {
        let (storage, path) = storage(seed);
        storage.set_rates(FaultRates {
            write_ppm: 200_000,
            sync_ppm: 100_000,
            ..FaultRates::default()
        });
        let file = storage.create(&path).unwrap();
        let results: Vec<bool> = (0..100)
            .map(|i| {
                file.write_all_at(&[i; 700], u64::from(i) * 300)
                    .and_then(|()| file.sync_data())
                    .is_ok()
            })
            .collect();
        storage.crash();
        storage.restart();
        (
            results,
            storage
                .exists(&path)
                .unwrap()
                .then(|| storage.read(&path).unwrap()),
        )
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}

#[test]
fn an_observer_sees_a_stopped_machine_and_changes_nothing() {
    let (storage, path) = storage(1);
    storage.replace(&path, b"text").unwrap();
    storage.set_rates(FaultRates {
        read_ppm: 1_000_000,
        ..FaultRates::default()
    });
    assert!(storage.read(&path).is_err());
    storage.crash();
    let operations = storage.operations();
    storage.set_quiet(true);
    assert_eq!(storage.read(&path).unwrap(), b"text");
    storage.set_quiet(false);
    assert!(storage.read(&path).is_err());
    assert_eq!((storage.operations(), storage.tally().faults), (operations, 1));
}

#[test]
fn a_replacement_that_fails_keeps_the_old_file_and_leaves_nothing_beside_it() {
    use Operation::{Create, Rename, Sync, Write};
    for operation in [Create, Write, Sync, Rename] {
        for fault in [Fault::Full, Fault::Io, Fault::Short] {
            let (storage, path) = storage(1);
            storage.replace(&path, b"old").unwrap();
            storage.plan(operation, 0, fault);
            storage.replace(&path, &[7; 5_000]).unwrap_err();
            let names = storage.list(directory()).unwrap();
            assert_eq!(names, ["file"], "{operation:?} {fault:?}");
            assert_eq!(storage.read(&path).unwrap(), b"old");
        }
    }
}
