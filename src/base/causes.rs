//! An error with its causes, in one line: for events, which carry text. Errors that end the program keep their causes
//! apart until they are shown.

/// The error's text and those of its causes, the outermost first.
pub fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read `x`")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_outermost_is_first() {
        assert_eq!(causes(&Outer(std::io::Error::other("no disk"))), "cannot read `x`: no disk");
        assert_eq!(causes(&std::io::Error::other("alone")), "alone");
    }
}
