//! A copier with a cursor for each source gets everything, once, and in order, wherever rows are meanwhile.

use std::collections::BTreeMap;

use watchfire_shared::time::{Span, Timestamp};

use super::world::{Content, World, assert_same, everything, labels, live, small_blocks};
use crate::disk::{CrashKeeps, Disk};
use crate::{CopiedBlocks, Options, Source, Store};

#[derive(Default)]
struct Copier {
    cursors: BTreeMap<Source, Timestamp>,
    copied: CopiedBlocks,
    content: Content,
}

impl Copier {
    fn cursor(&self, source: &Source) -> Timestamp {
        self.cursors.get(source).copied().unwrap_or(Timestamp::MIN)
    }

    /// Reads up to so many rows at a time until there are none.
    fn copy(&mut self, world: &World, most: usize) {
        let mut feed = world.store.feed();
        let mut copied = std::mem::take(&mut self.copied);
        feed.look_into_blocks(|source| self.cursor(source), &mut copied);
        self.copied = copied;
        for source in feed.sources() {
            loop {
                let after = self.cursor(source);
                let rows = feed.next_rows(source, after, most);
                let Some(last) = rows.last() else { break };
                assert!(rows.len() <= most && rows[0].at > after);
                let mut samples = 0;
                let mut newest: BTreeMap<_, i64> = BTreeMap::new();
                feed.read(source, after, last.at, &mut |labels, points| {
                    samples += points.len();
                    let series = self.content.entry(labels.clone()).or_default();
                    for (at, value) in points {
                        let before = newest.insert(labels.clone(), *at).unwrap_or(after.as_millis());
                        assert!(before < *at && *at <= last.at.as_millis(), "{source} {labels}");
                        // Of two sources at one time the store shows the first.
                        series.entry(*at).or_insert(value.to_bits());
                    }
                });
                assert_eq!(samples, rows.iter().map(|row| row.samples).sum::<usize>(), "{source}");
                self.cursors.insert(source.clone(), last.at);
            }
            assert_eq!(feed.waiting_in_memory(source, self.cursor(source)), 0, "{source}");
        }
        assert_eq!(feed.waiting_in_blocks(|source| self.cursor(source)), 0);
    }
}

#[test]
fn a_copier_that_follows_gets_all_of_it_while_rows_move_to_blocks() {
    for most in [1, 7, 1000] {
        let mut world = World::new(small_blocks());
        let mut copier = Copier::default();
        let mut steps = 0;
        everything(&mut world, 400, |world| {
            world.sync();
            world.now += Span::from_seconds(40);
            world.maintain();
            steps += 1;
            if steps % 5 == 0 {
                copier.copy(world, most);
            }
        });
        copier.copy(&world, most);
        assert_same(&copier.content, world.content(), most);
        assert!(world.store.stats().cuts > 5, "rows moved");
    }
}

#[test]
fn a_copier_that_was_away_finds_everything_in_the_blocks() {
    let mut world = World::new(small_blocks());
    everything(&mut world, 300, |world| {
        world.sync();
        world.now += Span::from_seconds(40);
        world.maintain();
    });
    let waiting = {
        let mut feed = world.store.feed();
        feed.look_into_blocks(|_| Timestamp::MIN, &mut CopiedBlocks::default());
        let memory: u64 = feed.sources().map(|source| feed.waiting_in_memory(source, Timestamp::MIN)).sum();
        memory + feed.waiting_in_blocks(|_| Timestamp::MIN)
    };
    let there: usize = world.content().values().map(BTreeMap::len).sum();
    assert!(waiting as usize * 10 > there * 8 && waiting as usize * 10 < there * 12, "{waiting} of {there}");
    world.crash(CrashKeeps::NOTHING);
    let mut copier = Copier::default();
    copier.copy(&world, 20);
    assert_same(&copier.content, world.content(), "after a crash");
}

#[test]
fn a_damaged_block_is_passed_over_and_the_rest_is_copied() {
    let mut world = World::new(Options { segment_bytes: 4096, ..small_blocks() });
    world.connect(&live(1), vec![Some(labels("a", 1)), Some(labels("b", 1))]);
    for step in 0..300 {
        world.tick(&live(1), |slot| f64::from(step) * 0.37 + slot as f64);
        world.sync();
        world.maintain();
    }
    let names = world.disk.list("blocks").unwrap();
    let path = names.into_iter().find(|name| name.ends_with(".block")).map(|name| format!("blocks/{name}")).unwrap();
    let mut content = world.disk.content(&path).unwrap();
    let middle = content.len() / 3;
    content[middle] ^= 0x40;
    world.disk.plant(&path, content);
    world.store = Store::open(world.disk.clone(), world.options.clone()).unwrap().0;
    let mut copier = Copier::default();
    let mut feed = world.store.feed();
    feed.look_into_blocks(|_| Timestamp::MIN, &mut copier.copied);
    let source = live(1);
    let (mut after, mut rows) = (Timestamp::MIN, 0);
    while let Some(last) = feed.next_rows(&source, after, 50).last().map(|row| row.at) {
        feed.read(&source, after, last, &mut |_, points| rows += points.len());
        after = last;
    }
    assert_eq!(after, world.now, "it came to the end");
    assert!(rows > 200 && rows < 600, "{rows}");
}
