//! The page of the documentation that lists the codes.

use std::fmt::Write as _;

use super::level_name;
use crate::event::Code;

/// What an area is about.
const AREAS: [(&str, &str); 10] = [
    ("CLI", "The program as a whole"),
    ("CFG", "models.yaml"),
    ("PLN", "Planning"),
    ("MDL", "Checkpoints and downloads"),
    ("CNV", "Conversion"),
    ("QTZ", "Quantization"),
    ("MCD", "Model cards"),
    ("HUF", "Publishing on the Hub"),
    ("LCP", "llama.cpp"),
    ("GHA", "GitHub Actions"),
];

/// docs/log-codes.md.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Log codes\n\n\
         <!-- Generated from src/event.rs; `JAMPH_UPDATE=1 cargo test --test integration generated` writes it anew. -->\n\n\
         Every line of the log has a code that does not change between versions: filter by it. A code is never given\n\
         to another meaning. `detail` lines are shown with `--verbose` and in `--json`.\n",
    );
    for (area, about) in AREAS {
        let _ = write!(page, "\n## {area}: {about}\n\n| code | level | meaning |\n|---|---|---|\n");
        for code in Code::ALL.iter().filter(|code| code.text().starts_with(area)) {
            let _ = writeln!(page, "| {} | {} | {} |", code.text(), level_name(code.level()), code.meaning());
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_on_the_page() {
        let page = markdown();
        for code in Code::ALL {
            assert_eq!(page.matches(&format!("| {} |", code.text())).count(), 1, "{}", code.text());
        }
    }
}
