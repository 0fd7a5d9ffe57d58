//! Processors of columns.

use anyhow::Result;
use arrow::array::{Array, ArrayRef, Float64Array, StringArray, StructArray, cast::AsArray};
use arrow::compute;
use arrow::datatypes::DataType as Column;
use forebay_shared::DataType;

use crate::cut::columnar;
use crate::tally::Tally;

/// Sum, least and most of each column of numbers; distinct texts of each other one.
pub(super) fn all(data_type: DataType, content: &[u8]) -> Result<f64> {
    let mut digest = 0.0;
    columnar::each(data_type, content, |batch| {
        for column in batch.columns() {
            digest += aggregate(column)?;
        }
        Ok(())
    })?;
    Ok(digest)
}

fn aggregate(array: &ArrayRef) -> Result<f64> {
    match array.data_type() {
        Column::Struct(_) => fields(array.as_struct()),
        Column::List(_) => aggregate(array.as_list::<i32>().values()),
        Column::Map(..) => fields(array.as_map().entries()),
        Column::Dictionary(_, value) => aggregate(&compute::cast(array, value)?),
        Column::Utf8 => Ok(texts(array.as_string::<i32>())),
        other if compute::can_cast_types(other, &Column::Float64) => {
            Ok(numbers(compute::cast(array, &Column::Float64)?.as_primitive()))
        }
        _ => Ok(array.len() as f64),
    }
}

fn fields(of: &StructArray) -> Result<f64> {
    of.columns().iter().map(aggregate).sum()
}

fn numbers(array: &Float64Array) -> f64 {
    let some = [compute::sum(array), compute::min(array), compute::max(array)];
    some.into_iter().flatten().filter(|number| number.is_finite()).sum::<f64>() + array.null_count() as f64
}

fn texts(array: &StringArray) -> f64 {
    let mut tally = Tally::<String>::default();
    array.iter().flatten().for_each(|text| tally.text(text, text.len()));
    tally.digest()
}
