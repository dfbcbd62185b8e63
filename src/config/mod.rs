//! models.yaml: typed, defaults resolved, every error with file, line and column.
