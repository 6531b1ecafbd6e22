//! The flow table as it is told to other directors: what has changed since, and what they tell.

use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::cell::Cell;
use lb_common::layout::{Backend, CELLS_PER_BUCKET, Detail, Settings};
use lb_common::{BUCKETS_PER_MARK, map};
use lb_ebpf::adopt::{Adopted, Told, adopt};
use lb_ebpf::detail::detail_matches;
use lb_ebpf::migrate::Movable;
use lb_ebpf::tables::Entry;

use super::error::{OnMap, Result};
use super::flow_table::FlowTable;
use super::moving::Moving;

/// What was told of each cell, so that only news is told; a copy of the word.
pub type Shadow = Vec<AtomicU64>;

/// A cell that others do not know as it is.
#[derive(Clone, Copy, Debug)]
pub struct News {
    /// What it holds.
    pub cell: Cell,
    /// The flow that it stands for.
    pub detail: Detail,
}

impl FlowTable {
    /// Settings of the packet path.
    pub fn settings(&self) -> Result<Settings> {
        self.settings.get(&0, 0).on("read", map::SETTINGS)
    }

    /// A shadow of which nothing was told.
    pub fn new_shadow(&self) -> Shadow {
        let n_cells = self.cells.cells.words().len();
        std::iter::repeat_with(AtomicU64::default).take(n_cells).collect()
    }

    /// Runs of buckets that have a mark.
    pub fn n_stretches(&self) -> usize {
        let n_buckets = self.cells.cells.words().len() / CELLS_PER_BUCKET;
        n_buckets.div_ceil(buckets_per_mark())
    }

    /// Takes all marks down, and gives the number of each stretch that had one.
    pub fn take_marks(&self, mut had: impl FnMut(usize)) {
        let (n_stretches, marks) = (self.n_stretches(), self.marks.words());
        for (number, mark) in marks.iter().enumerate().take(n_stretches) {
            // A load first: most are not set, and the packet path reads them too.
            if mark.load(Ordering::Relaxed) != 0 {
                mark.swap(0, Ordering::AcqRel);
                (number..n_stretches).step_by(marks.len().max(1)).for_each(&mut had);
            }
        }
    }

    /// Finds what is news in a stretch, as `is_news` says of the word that was told and the cell now. What is
    /// given to `tell` counts as told. Says whether nothing is left that is being written at the moment.
    pub fn look<'b>(
        &self,
        stretch: usize,
        shadow: &Shadow,
        settings: &Settings,
        backend: impl Fn(u32) -> Option<&'b Backend>,
        is_news: impl Fn(Cell, Cell) -> bool,
        mut tell: impl FnMut(News),
    ) -> bool {
        let mut is_finished = true;
        let n_cells = buckets_per_mark() * CELLS_PER_BUCKET;
        let start = stretch * n_cells;
        let range = start..shadow.len().min(start + n_cells);
        let (words, shadow) = (self.cells.cells.words().get(range.clone()), shadow.get(range));
        let pairs = words.unwrap_or_default().iter().zip(shadow.unwrap_or_default());
        for (index, (word, told)) in (start..).zip(pairs) {
            let cell = Cell(word.load(Ordering::Acquire));
            if cell.state().is_none() || cell.is_moving() {
                told.store(0, Ordering::Relaxed);
            } else if is_news(Cell(told.load(Ordering::Relaxed)), cell) {
                match self.detail_of(index, cell, word, settings, backend(cell.backend())) {
                    Some(detail) => {
                        told.store(cell.0, Ordering::Relaxed);
                        tell(News { cell, detail });
                    }
                    None => is_finished = false,
                }
            }
        }
        is_finished
    }

    /// The detail of a cell, if it is its own and whole: a packet may be writing it.
    fn detail_of(
        &self,
        index: usize,
        cell: Cell,
        word: &AtomicU64,
        settings: &Settings,
        backend: Option<&Backend>,
    ) -> Option<Detail> {
        let entry: Entry<Detail> = self.cells.details.entry(u32::try_from(index).ok()?)?;
        let detail = entry.get();
        let is_reply = cell.is_reply();
        let is_own = detail_matches(&settings.hash_key, &detail, backend?, is_reply, cell.tag());
        let is_still =
            !Cell(word.load(Ordering::Acquire)).is_news_to(cell) && entry.get() == detail;
        (is_own && is_still).then_some(detail)
    }

    /// Takes in what other directors tell; says of each what became of it.
    pub fn adopt(
        &self,
        told: impl IntoIterator<Item = Told>,
        tick: u64,
        mut became: impl FnMut(Adopted),
    ) -> Result<()> {
        let settings = self.settings()?;
        let maps = Moving::new(&self.cells, None, &settings, &self.backends);
        for told in told {
            let adopted = adopt(&maps, &told, tick);
            if !told.is_reply && matches!(adopted, Adopted::At(..)) {
                let listener = maps.read_backend(told.backend, |backend| backend.listener);
                listener.map_or(Ok(()), |id| self.sources.learn(id, &told, tick))?;
            }
            became(adopted);
        }
        Ok(())
    }
}

fn buckets_per_mark() -> usize {
    usize::try_from(BUCKETS_PER_MARK).unwrap_or(usize::MAX)
}
