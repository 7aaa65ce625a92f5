//! Repairs of packs, of what is kept twice and of marks; what is good for nothing goes, and what is lost has a name.

use crate::world::World;
use std::{
    fs,
    path::{Path, PathBuf},
};

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

const FILES: u64 = 6;
/// So many that the half of a pack holds whole ones, wherever chunks are cut.
const BYTES: usize = 400_000;

/// A folder of six files that do not compress, backed up once; gives the snapshot and the pack that holds them.
fn backed_up() -> (World, String, PathBuf) {
    let world = World::new();
    fs::create_dir_all(world.path("s")).unwrap();
    for n in 0..FILES {
        fs::write(world.path(&format!("s/f{n}")), noise(BYTES, n + 1)).unwrap();
    }
    let id = world.backup(&["files:s", "--parallel", "1"]);
    let pack = below(&world.repo().join("packs"));
    let largest = pack.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    (world, id, largest)
}

fn change(path: &Path, from: usize, to: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[from..to].iter_mut().for_each(|byte| *byte ^= 0x5A);
    fs::write(path, bytes).unwrap();
}

fn forget_catalog(world: &World) {
    fs::remove_dir_all(world.path("cache")).unwrap();
}

fn intact(world: &World, out: &str) -> u64 {
    (0..FILES)
        .filter(|n| fs::read(world.path(&format!("{out}/f{n}"))).is_ok_and(|bytes| bytes == noise(BYTES, n + 1)))
        .count() as u64
}

#[test]
fn what_can_be_read_of_a_damaged_pack_is_saved_and_what_is_lost_is_named() {
    let (world, id, pack) = backed_up();
    let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
    let len = fs::metadata(&pack).unwrap().len() as usize;
    change(&pack, len / 2, len / 2 + 10);
    let before = world.objects();
    world.run(&["repair", "packs", "--dry-run"]).fails(3, &[&name, &id]);
    let kept = |objects: &std::collections::BTreeMap<PathBuf, Vec<u8>>| {
        objects.keys().filter(|path| !path.to_string_lossy().contains("leases/")).count()
    };
    assert_eq!(kept(&world.objects()), kept(&before), "a dry run makes nothing");
    let packs = below(&world.repo().join("packs")).len();
    world.run(&["repair", "packs"]).fails(3, &[&name, &id, "cannot be restored whole"]);
    assert!(below(&world.repo().join("packs")).len() > packs, "what could be read lies in a new pack");
    // A new machine sees the same.
    forget_catalog(&world);
    let verified = world.run(&["verify", "--read-data"]);
    assert_eq!(verified.code, Some(1), "{verified:?}");
    verified.says(&[&name]);
    // Everything else no longer hangs on the damaged pack.
    fs::remove_file(&pack).unwrap();
    let ran = world.run(&["restore", &id, "files:out", "--keep-going"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!((2..FILES).contains(&intact(&world, "out")), "a chunk may hold parts of several files");
    // The source still has it: then it is whole again, and the damaged pack goes.
    world.backup(&["files:s", "--full"]);
    world.ok(&["repair", "packs"]);
    world.is_good();
    world.ok(&["restore", &id, "files:again"]);
    assert_eq!(intact(&world, "again"), FILES);
}

#[test]
fn a_pack_whose_header_or_directory_is_lost_loses_nothing() {
    for (from, to) in [(0, 64), (8, 120), (usize::MAX, 40)] {
        let (world, id, pack) = backed_up();
        let len = fs::metadata(&pack).unwrap().len() as usize;
        let (from, to) = if from == usize::MAX { (len - to, len) } else { (from, to) };
        change(&pack, from, to);
        world.ok(&["repair", "packs"]);
        assert!(!pack.exists(), "it is good for nothing any more");
        forget_catalog(&world);
        world.is_good();
        world.ok(&["verify", "--read-data"]);
        world.ok(&["restore", &id, "files:out"]);
        assert_eq!(intact(&world, "out"), FILES);
    }
}

#[test]
fn a_pack_that_was_cut_gives_what_is_left_and_one_that_is_gone_is_named() {
    let (world, id, pack) = backed_up();
    let bytes = fs::read(&pack).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
    fs::write(&pack, &bytes[..bytes.len() / 2]).unwrap();
    world.run(&["repair", "packs", "--remembered"]).fails(3, &[&name, &id]);
    fs::remove_file(&pack).unwrap();
    world.run(&["repair", "packs"]).fails(3, &[&name, &id]);
    let ran = world.run(&["restore", &id, "files:out", "--keep-going"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(intact(&world, "out") >= 1);
    world.ok(&["forget", &id, "--force"]);
    world.ok(&["prune"]);
    world.ok(&["repair", "packs"]);
    world.is_good();
}

#[test]
fn a_damaged_pack_without_an_index_is_saved_by_its_own_directory() {
    let (world, id, pack) = backed_up();
    let len = fs::metadata(&pack).unwrap().len() as usize;
    change(&pack, len / 2, len / 2 + 10);
    for index in below(&world.repo().join("index")) {
        fs::write(index, "junk").unwrap();
    }
    forget_catalog(&world);
    let ran = world.run(&["repair", "packs"]);
    assert!(matches!(ran.code, Some(0 | 3)), "{ran:?}");
    world.ok(&["repair", "index"]);
    let ran = world.run(&["restore", &id, "files:out", "--keep-going"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!((2..FILES).contains(&intact(&world, "out")), "a chunk may hold parts of several files");
    let name = pack.file_name().unwrap().to_str().unwrap();
    let verified = world.run(&["verify", "--read-data"]);
    assert_eq!(verified.code, Some(1), "{verified:?}");
    verified.says(&[name]);
    // It stops no prune, which names what it could not copy.
    world.run(&["prune"]).fails(3, &[name]);
}

#[test]
fn packs_are_named_by_their_first_digits() {
    let (world, _, pack) = backed_up();
    let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
    world.run(&["repair", "packs", "zz"]).fails(2, &["zz"]);
    world.ok(&["repair", "packs", &name[..12]]);
    assert!(pack.exists(), "nothing is wrong with it");
}

#[test]
fn what_is_kept_twice_is_made_again_from_the_other() {
    let world = World::new();
    let repo = world.repo();
    let slot = below(&repo.join("keys"))[0].file_name().unwrap().to_str().unwrap().to_owned();
    let [key, key_copy] = [format!("keys/{slot}"), format!("copies/keys/{slot}")];
    for name in ["rekeep.json", "copies/rekeep.json", &key, &key_copy] {
        for harm in 0..3 {
            let place = repo.join(name);
            let whole = fs::read(&place).unwrap();
            match harm {
                0 => fs::remove_file(&place).unwrap(),
                1 => fs::write(&place, &whole[..whole.len() / 2]).unwrap(),
                _ => fs::write(&place, "junk").unwrap(),
            }
            world.run(&["verify"]).fails(1, &[name, "repair config"]);
            let planned = world.json(&["repair", "config", "--dry-run"]);
            assert_eq!(planned["restored"], serde_json::json!([name]), "{harm}");
            let command = if harm == 1 { &["key", "mend"][..] } else { &["repair", "config"] };
            let ran = world.ok(command);
            assert!(ran.out.contains(name), "{ran:?}");
            assert_eq!(fs::read(&place).unwrap(), whole);
            world.is_good();
        }
    }
}

#[test]
fn a_mark_that_cannot_be_read_stops_no_backup_and_is_taken_away() {
    let (world, id, _) = backed_up();
    let mark = world.repo().join("trash").join("00112233445566778899aabbccddeeff");
    fs::create_dir_all(mark.parent().unwrap()).unwrap();
    for harm in ["junk", ""] {
        fs::write(&mark, harm).unwrap();
        let ran = world.ok(&["backup", "files:s"]);
        assert!(ran.err.contains("stored anew") && ran.err.contains("repair marks"), "{ran:?}");
        world.ok(&["restore", "latest", "files:out"]);
        assert_eq!(intact(&world, "out"), FILES);
        fs::remove_dir_all(world.path("out")).unwrap();
        world.run(&["prune"]).fails(1, &["00112233445566778899aabbccddeeff", "repair marks"]);
        let planned = world.json(&["repair", "marks", "--dry-run"]);
        assert_eq!(planned["removed"], serde_json::json!(["trash/00112233445566778899aabbccddeeff"]));
        assert!(mark.exists());
        world.ok(&["repair", "marks"]);
        assert!(!mark.exists());
        world.ok(&["prune"]);
        world.is_good();
    }
    world.ok(&["restore", &id, "files:out"]);
}

#[test]
fn torn_files_among_the_packs_stop_no_prune_and_go() {
    let (world, id, pack) = backed_up();
    let whole = fs::read(&pack).unwrap();
    let mut torn = Vec::new();
    for (n, bytes) in [(10_u8, Vec::new()), (11, b"ab".to_vec()), (12, whole[..70].to_vec()), (13, vec![0; 5000])] {
        let folder = world.repo().join(format!("packs/{n:02x}"));
        fs::create_dir_all(&folder).unwrap();
        torn.push(folder.join(format!("{n:02x}").repeat(32)));
        fs::write(&torn[torn.len() - 1], bytes).unwrap();
    }
    world.ok(&["backup", "files:s"]);
    world.ok(&["prune"]);
    assert!(torn.iter().all(|path| !path.exists()), "none of them is left");
    world.is_good();
    world.ok(&["restore", &id, "files:out"]);
}
