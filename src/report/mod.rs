//! Events to terminal lines, progress bars and JSON.
