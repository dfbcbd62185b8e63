//! Arguments, settings, one file per command, exit codes.
