//! Reading a group by its rows: for whoever copies a source elsewhere, and not for queries.

use roaring::RoaringBitmap;
use watchfire_shared::labels::Labels;

use super::group::Detail;
use super::index::Index;
use super::{Block, Fault, Group, Range};
use crate::deletion::{self, Deletion};

/// The rows of one group, without their values.
pub(crate) struct GroupRows {
    group: Group,
    detail: Detail,
}

impl GroupRows {
    pub(crate) fn read(block: &Block, group: &Group) -> Result<Self, Fault> {
        Ok(Self { group: group.clone(), detail: block.detail(group)? })
    }

    /// Time of each row within the range, and how many samples it has.
    pub(crate) fn sizes(&self, range: Range) -> Vec<(i64, usize)> {
        let columns = self.detail.columns.iter().map(|column| (column.first as usize, column.count as usize));
        let sizes = sizes(self.detail.times.len(), columns);
        self.detail.rows(range).map(|row| (self.detail.times[row], sizes[row])).collect()
    }

    /// Gives the points of every series within the range, less what the deletions select.
    ///
    /// # Errors
    /// If something cannot be read; what was given before that stands.
    pub(crate) fn points(
        &self,
        block: &Block,
        range: Range,
        deletions: &[&Deletion],
        take: &mut impl FnMut(&Labels, &[(i64, f64)]),
    ) -> Result<(), Fault> {
        let rows = self.detail.rows(range);
        let columns: Vec<_> = self.detail.columns.iter().filter(|column| column.overlaps(&rows)).collect();
        let numbers: RoaringBitmap = columns.iter().map(|column| column.series).collect();
        let series = Index::read(block)?.series(block, &numbers)?;
        let (mut values, mut points) = (Vec::new(), Vec::new());
        for column in columns {
            values.clear();
            points.clear();
            block.values(&self.group, column, &mut values)?;
            let first = column.first as usize;
            let own = rows.start.max(first)..rows.end.min(first + values.len());
            points.extend(own.map(|row| (self.detail.times[row], values[row - first])));
            let at = series.partition_point(|series| series.number < column.series);
            let Some(series) = series.get(at) else { continue };
            if !deletions.is_empty() {
                let deleted = deletion::ranges_of(deletions, &series.labels);
                points.retain(|(at, _)| !deletion::is_in(&deleted, *at));
            }
            if !points.is_empty() {
                take(&series.labels, &points);
            }
        }
        Ok(())
    }
}

/// How many samples each of so many rows has, from the first row and the length of each column.
pub(crate) fn sizes(rows: usize, columns: impl Iterator<Item = (usize, usize)>) -> Vec<usize> {
    let mut steps = vec![0isize; rows + 1];
    for (first, count) in columns {
        steps[first.min(rows)] += 1;
        steps[(first + count).min(rows)] -= 1;
    }
    let mut size = 0;
    let running = steps[..rows].iter().map(|step| {
        size += step;
        usize::try_from(size).unwrap_or_default()
    });
    running.collect()
}
