//! restamp
