//! Config and facts to jobs. Pure: no I/O.
