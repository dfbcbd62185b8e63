//! The program `jamph-quantizer`: everything is in the library.

fn main() -> std::process::ExitCode {
    jamph_quantizer::cli::main()
}
