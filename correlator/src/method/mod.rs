//! Correlation methods: pure functions, one file each.

pub(crate) mod structural;
