//! How a pass walks over a batch: which blocks there are, where each begins, and where and in which order its sums go.
//! Runs nothing; that is `pass.rs`.
//!
//! Blocks, and the order in which their sums are added, follow from the shape alone.

use sdk::{Per, cpu};
use tch::Tensor;

use super::chunks;

/// Inputs, and results, that a pass may have, as in the sdk's kernels.
pub(super) const MOST: usize = 8;

/// Elements of a block: few enough that a matrix has many, and no thread waits long for the last.
const BLOCK: usize = 32_768;
/// Columns of a block where there are rows: the sums of so many columns stay in the first-level cache.
const COLUMNS: usize = 512;

/// How the elements of a batch are cut into blocks: matrices of rows and columns; where neither rows nor columns matter,
/// each parameter is one row.
pub(super) struct Grid {
    batch: usize,
    matrices: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Rows and columns of a block; those at the end may have fewer.
    block: (usize, usize),
}

/// One block: its matrix, its first row and column, its place among the blocks of its matrix, and its size.
pub(super) struct At {
    matrix: usize,
    row: usize,
    column: usize,
    place: (usize, usize),
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Grid {
    pub(super) fn of(shape: &[i64], inputs: &[Per], results: &[Per]) -> Grid {
        let sums_columns = results.contains(&Per::Column);
        let mut all = inputs.iter().chain(results);
        let sizes: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
        let (batch, own) = (sizes[0], &sizes[1..]);
        let (matrices, rows, columns) = match own {
            [leading @ .., rows, columns] if all.any(|per| matches!(per, Per::Row | Per::Column)) => {
                (batch * leading.iter().product::<usize>(), *rows, *columns)
            }
            own => (batch, 1, own.iter().product()),
        };
        // Of even width, and a multiple of the kernels' tiles.
        let most = if sums_columns { COLUMNS } else { chunks::CHUNK };
        let even = columns.div_ceil(columns.div_ceil(most).max(1)).next_multiple_of(128);
        let wide = if rows == 1 { BLOCK } else { even.min(columns).max(1) };
        Grid { batch, matrices, rows, columns, block: ((BLOCK / wide).max(1), wide) }
    }

    pub(super) fn elements(&self) -> usize {
        self.matrices * self.rows * self.columns
    }

    /// Blocks of one matrix, along rows and along columns.
    fn cut(&self) -> (usize, usize) {
        (self.rows.div_ceil(self.block.0), self.columns.div_ceil(self.block.1))
    }

    pub(super) fn blocks(&self) -> usize {
        self.matrices * self.cut().0 * self.cut().1
    }

    pub(super) fn block(&self, index: usize) -> At {
        let (down, across) = self.cut();
        let place = (index / across % down, index % across);
        let (row, column) = (place.0 * self.block.0, place.1 * self.block.1);
        let (rows, columns) = (self.block.0.min(self.rows - row), self.block.1.min(self.columns - column));
        At { matrix: index / across / down, row, column, place, rows, columns }
    }

    /// Places for the sums of all blocks.
    pub(super) fn sums(&self, per: Per) -> usize {
        let (down, across) = self.cut();
        self.matrices
            * match per {
                Per::Element => 0,
                Per::Row => across * self.rows,
                Per::Column => down * self.columns,
                Per::Parameter => down * across,
            }
    }

    /// Where a block's sums go.
    fn sum_at(&self, per: Per, at: &At) -> usize {
        let (down, across) = self.cut();
        match per {
            Per::Element => 0,
            Per::Row => (at.matrix * across + at.place.1) * self.rows + at.row,
            Per::Column => (at.matrix * down + at.place.0) * self.columns + at.column,
            Per::Parameter => (at.matrix * down + at.place.0) * across + at.place.1,
        }
    }

    /// The sums of the blocks, added up.
    pub(super) fn added(&self, per: Per, sums: &[f64]) -> Vec<f64> {
        let (down, across) = self.cut();
        let (length, times) = match per {
            Per::Row => (self.rows, across),
            Per::Column => (self.columns, down),
            _ => {
                let blocks = sums.len() / self.batch.max(1);
                return (0..self.batch).map(|one| cpu::sum(&sums[one * blocks..][..blocks])).collect();
            }
        };
        let mut all = vec![0.0; self.matrices * length];
        for (place, line) in sums.chunks(length.max(1)).enumerate() {
            let to = &mut all[place / times * length..][..line.len()];
            to.iter_mut().zip(line).for_each(|(sum, more)| *sum += more);
        }
        all
    }

    /// Matrices of one parameter.
    fn own_matrices(&self) -> usize {
        (self.matrices / self.batch.max(1)).max(1)
    }

    /// Where the parts of a batch that lies so begin: those of each parameter.
    pub(super) fn place(&self, parts: &[Tensor], per: Per, width: usize) -> Place {
        let first = |tensor: &Tensor| tensor.data_ptr() as *mut u8;
        let parts = match parts {
            [all] => {
                let of_one = match per {
                    Per::Element => self.own_matrices() * self.rows * self.columns,
                    Per::Row => self.own_matrices() * self.rows,
                    Per::Column => self.own_matrices() * self.columns,
                    Per::Parameter => 1,
                };
                (0..self.batch).map(|parameter| first(all).wrapping_add(parameter * of_one * width)).collect()
            }
            parts => parts.iter().map(first).collect(),
        };
        Place { per, parts }
    }

    /// The first element of a block: its parameter, and an index into what lies so of that.
    fn element_at(&self, per: Per, at: &At) -> (usize, usize) {
        let (parameter, matrix) = (at.matrix / self.own_matrices(), at.matrix % self.own_matrices());
        let index = match per {
            Per::Element => (matrix * self.rows + at.row) * self.columns + at.column,
            Per::Row => matrix * self.rows + at.row,
            Per::Column => matrix * self.columns + at.column,
            Per::Parameter => 0,
        };
        (parameter, index)
    }
}

/// Where a batch begins, parameter by parameter; sums, all in one.
pub(super) struct Place {
    pub(super) per: Per,
    pub(super) parts: Vec<*mut u8>,
}

/// Where tensors and sums begin.
pub(super) struct Places {
    pub(super) inputs: Vec<Place>,
    pub(super) results: Vec<Place>,
    /// Bytes of an element.
    pub(super) width: usize,
}
// SAFETY: blocks write to disjoint places.
unsafe impl Sync for Places {}

impl Places {
    pub(super) fn inputs(&self, grid: &Grid, at: &At) -> [*mut u8; MOST] {
        let mut all = [std::ptr::null_mut(); MOST];
        for (pointer, place) in all.iter_mut().zip(&self.inputs) {
            let (parameter, index) = grid.element_at(place.per, at);
            *pointer = place.parts[parameter].wrapping_add(index * self.width);
        }
        all
    }

    pub(super) fn results(&self, grid: &Grid, at: &At) -> [*mut u8; MOST] {
        let mut all = [std::ptr::null_mut(); MOST];
        for (pointer, place) in all.iter_mut().zip(&self.results) {
            let (parameter, offset) = match place.per {
                Per::Element => {
                    let (parameter, index) = grid.element_at(place.per, at);
                    (parameter, index * self.width)
                }
                per => (0, grid.sum_at(per, at) * size_of::<f64>()),
            };
            *pointer = place.parts[parameter].wrapping_add(offset);
        }
        all
    }
}
