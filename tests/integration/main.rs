//! What the program does as a whole, and that it is what the reference does.

mod mixtures;
mod support;
