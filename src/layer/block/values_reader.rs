//! A values chunk as it is read: checked once, then values are put together one after the other.

use super::{MAX_COLUMNS, MAX_ROWS, VERSION, keys_reader::runs_of};
use crate::{
    record::{
        CellWriter, Shape, Tag,
        bytes::{DecodeError, Reader, known_version},
    },
    repo::ChunkPlain,
};
use std::{ops::Range, sync::Arc};

#[derive(Debug, Default)]
struct Column {
    tag: Option<u8>,
    tags: Range<usize>,
    len: Option<u32>,
    lens: Vec<u32>,
    data: Range<usize>,
    cells: usize,
    next_cell: usize,
    next_byte: usize,
}

/// The values of one block.
#[derive(Debug)]
pub(in crate::layer) struct ValuesBlock {
    bytes: Vec<u8>,
    shapes: Vec<Arc<Shape>>,
    /// For each shape, for each of its names, the column; the rest cells are the last column.
    shape_columns: Vec<Vec<u32>>,
    row_shapes: Vec<u32>,
    columns: Vec<Column>,
    next_row: usize,
    value: Vec<u8>,
}

impl ValuesBlock {
    /// Decodes and checks a values chunk.
    pub(in crate::layer) fn decode(plain: ChunkPlain) -> Result<Self, DecodeError> {
        let ranges: Vec<Range<usize>> = plain.runs().collect();
        let runs = runs_of(&plain)?;
        known_version(runs.first().copied(), VERSION, "version of a values chunk")?;
        let mut header = Reader::new(runs.first().ok_or(DecodeError::Truncated("a values chunk"))?);
        header.u8("a values chunk's version")?;
        let rows = header.u64("a number of values")?;
        if rows == 0 || rows > MAX_ROWS as u64 {
            return Err(DecodeError::Invalid("a number of values"));
        }
        let rows = rows as usize;
        let mut shapes = Vec::new();
        for _ in 0..header.len("a number of shapes")? {
            shapes.push(Arc::new(Shape::decode(&mut header)?));
        }
        let count = header.len("a number of columns")?;
        if count > MAX_COLUMNS || runs.len() != 2 + 3 * count + 3 {
            return Err(DecodeError::Invalid("a number of columns"));
        }
        let mut names = Vec::with_capacity(count);
        let mut columns = Vec::with_capacity(count + 1);
        for c in 0..count {
            let name = header.slice("a column's name")?;
            if names.last().is_some_and(|last| *last >= name) {
                return Err(DecodeError::Invalid("the order of columns"));
            }
            names.push(name);
            columns.push(Column::open(&mut header, &ranges[2 + 3 * c..])?);
        }
        header.finish("a values chunk's header")?;
        let rest = &ranges[2 + 3 * count..];
        columns.push(Column { tags: rest[0].clone(), data: rest[2].clone(), ..Column::default() });
        let row_shapes = read_row_shapes(runs[1], rows, shapes.len())?;
        let column_of = |name: &Vec<u8>| names.binary_search(&name.as_slice()).unwrap_or(count) as u32;
        let shape_columns: Vec<Vec<u32>> =
            shapes.iter().map(|shape| shape.names().iter().map(column_of).collect()).collect();
        count_cells(&mut columns, &shape_columns, &row_shapes);
        for (c, column) in columns.iter_mut().enumerate() {
            column.check(runs[2 + 3 * c + 1])?;
        }
        let bytes = plain.bytes;
        Ok(Self { bytes, shapes, shape_columns, row_shapes, columns, next_row: 0, value: Vec::new() })
    }

    /// The number of values.
    pub(in crate::layer) fn len(&self) -> usize {
        self.row_shapes.len()
    }

    /// The shape and the canonical bytes of a value. Cheap when asked for in ascending order.
    pub(in crate::layer) fn value(&mut self, row: usize) -> (&Arc<Shape>, &[u8]) {
        let row = row.min(self.row_shapes.len() - 1);
        if row + 1 < self.next_row {
            self.next_row = 0;
            for column in &mut self.columns {
                column.next_cell = 0;
                column.next_byte = 0;
            }
        }
        while self.next_row < row {
            for &column in &self.shape_columns[self.row_shapes[self.next_row] as usize] {
                self.columns[column as usize].advance();
            }
            self.next_row += 1;
        }
        let shape = self.row_shapes[row] as usize;
        if self.next_row == row {
            self.put_together(shape);
            self.next_row += 1;
        }
        (&self.shapes[shape], &self.value)
    }

    /// What [`Self::value`] gave last.
    pub(in crate::layer) fn current(&self) -> (&Arc<Shape>, &[u8]) {
        let shape = self.row_shapes[self.next_row.saturating_sub(1)] as usize;
        (&self.shapes[shape], &self.value)
    }

    fn put_together(&mut self, shape: usize) {
        self.value.clear();
        let names = &self.shape_columns[shape];
        let mut cells = CellWriter::new(&mut self.value, names.len());
        for &index in names {
            let column = &mut self.columns[index as usize];
            let tag = Tag(column.tag.unwrap_or_else(|| self.bytes[column.tags.start + column.next_cell]));
            if column.len == Some(8) {
                let first = column.data.start + column.next_cell;
                cells.cell(tag, &std::array::from_fn::<u8, 8, _>(|plane| self.bytes[first + plane * column.cells]));
            } else {
                let start = column.data.start + column.next_byte;
                cells.cell(tag, &self.bytes[start..start + column.next_len()]);
            }
            column.advance();
        }
    }
}

impl Column {
    fn open(header: &mut Reader<'_>, runs: &[Range<usize>]) -> Result<Self, DecodeError> {
        let tag = match header.u8("a column's tags")? {
            0 => Some(header.u8("a column's tag")?),
            1 => None,
            _ => return Err(DecodeError::Invalid("a column's tags")),
        };
        let len = match header.u8("a column's lengths")? {
            0 => Some(header.u32("a column's length")?),
            1 => None,
            _ => return Err(DecodeError::Invalid("a column's lengths")),
        };
        Ok(Self { tag, len, tags: runs[0].clone(), data: runs[2].clone(), ..Self::default() })
    }

    /// Checks that tags, lengths and bytes are exactly those of the column's cells.
    fn check(&mut self, lens: &[u8]) -> Result<(), DecodeError> {
        let tags = if self.tag.is_some() { 0 } else { self.cells };
        if self.tags.len() != tags {
            return Err(DecodeError::Invalid("the number of a column's tags"));
        }
        let total = match self.len {
            Some(len) if lens.is_empty() => u64::from(len) * self.cells as u64,
            Some(_) => return Err(DecodeError::Trailing("a column of constant length")),
            None => {
                if self.cells > lens.len() {
                    return Err(DecodeError::Truncated("the lengths of a column"));
                }
                let mut reader = Reader::new(lens);
                self.lens.reserve_exact(self.cells);
                let mut total = 0;
                for _ in 0..self.cells {
                    let len = reader.u32("a cell's length")?;
                    total += u64::from(len);
                    self.lens.push(len);
                }
                reader.finish("the lengths of a column")?;
                total
            }
        };
        if total == self.data.len() as u64 {
            Ok(())
        } else {
            Err(DecodeError::Invalid("the length of a column's bytes"))
        }
    }

    #[inline]
    fn next_len(&self) -> usize {
        self.len.unwrap_or_else(|| self.lens[self.next_cell]) as usize
    }

    #[inline]
    fn advance(&mut self) {
        self.next_byte += self.next_len();
        self.next_cell += 1;
    }
}

fn read_row_shapes(run: &[u8], rows: usize, shapes: usize) -> Result<Vec<u32>, DecodeError> {
    let mut reader = Reader::new(run);
    let mut row_shapes = Vec::new();
    match shapes {
        0 => return Err(DecodeError::Invalid("a number of shapes")),
        1 => row_shapes.resize(rows, 0),
        _ => {
            for _ in 0..rows {
                let shape = reader.u32("a shape's index")?;
                if shape as usize >= shapes {
                    return Err(DecodeError::Invalid("a shape's index"));
                }
                row_shapes.push(shape);
            }
        }
    }
    reader.finish("the shapes of values")?;
    Ok(row_shapes)
}

fn count_cells(columns: &mut [Column], shape_columns: &[Vec<u32>], row_shapes: &[u32]) {
    let mut rows = vec![0usize; shape_columns.len()];
    for &shape in row_shapes {
        rows[shape as usize] += 1;
    }
    for (names, rows) in shape_columns.iter().zip(rows) {
        for &column in names {
            columns[column as usize].cells += rows;
        }
    }
}
