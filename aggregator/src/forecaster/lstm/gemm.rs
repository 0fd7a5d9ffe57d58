//! Matrix products over slices: the one place that calls the `gemm` crate, whose interface is raw pointers.

use gemm::Parallelism;

/// A row-major view: `rows` x `columns`, element (r, c) at `r * row_stride + c * column_stride`.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// `rows` x `columns` numbers, one row after the other.
    pub(super) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "a view needs exactly its elements");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same numbers, transposed.
    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Whether a product replaces or adds to what is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// `out = a b`
    Replace,
    /// `out += a b`
    Add,
}

/// `out (+)= a b`, with `out` row-major and on this thread alone: one training, one thread.
#[expect(unsafe_code, reason = "gemm takes raw pointers; the assertions and View::new keep every access in bounds")]
pub(super) fn multiply(into: Into, out: &mut [f32], a: View<'_>, b: View<'_>) {
    assert_eq!(a.columns, b.rows, "inner dimensions agree");
    assert_eq!(out.len(), a.rows * b.columns, "the result has its size");
    // SAFETY: a View's strides are those of its whole, dense slice (possibly transposed), `out` is dense with
    // `b.columns` a row, and `&mut` keeps it apart from both inputs.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            into == Into::Add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_schoolbook() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, 0.0, 2.0, 1.0, 1.0, 1.0];
        let mut out = [10.0; 4];
        multiply(Into::Replace, &mut out, View::new(&a, 2, 3), View::new(&b, 3, 2));
        assert_eq!(out, [8.0, 5.0, 20.0, 11.0]);
        multiply(Into::Add, &mut out, View::new(&a, 3, 2).transposed(), View::new(&b, 3, 2));
        assert_eq!(out, [8.0 + 12.0, 5.0 + 8.0, 20.0 + 16.0, 11.0 + 10.0]);
    }
}
