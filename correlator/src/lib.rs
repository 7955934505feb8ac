//! correlator
