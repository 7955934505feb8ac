//! The doors: PostgreSQL wire, HTTP and Flight SQL.

pub mod flight;
pub mod http;
pub mod pgwire;
mod portable;
pub(crate) mod text;

/// Every value of a column in PostgreSQL's text form; NULL as `NULL`.
#[cfg(test)]
pub(crate) fn text_column(column: &arrow::array::ArrayRef) -> Result<Vec<String>, crate::QueryError> {
    use arrow::array::Array;
    let column = text::plain(column)?;
    let value = |row: usize| {
        let mut out = String::new();
        if column.is_null(row) {
            out.push_str("NULL");
        } else if !text::value(&mut out, &column, row) {
            out = arrow::util::display::array_value_to_string(&column, row)?;
        }
        Ok(out)
    };
    (0..column.len()).map(value).collect()
}
