//! What quantizing fails with, and what to do next.

use super::{of_disk, of_system};
use crate::cli::failure::{Explain, Kind};
use crate::quantize::pass::PassError;
use crate::quantize::split::SplitError;
use crate::quantize::{ImatrixError, LayoutError, Method, OptionError, UnknownMethod};
use crate::run::files::WriteError;

const NEEDS_IMATRIX: &str = "give it an importance matrix, or choose a method of three bits or more";

impl Explain for PassError {
    fn kind(&self) -> Kind {
        match self {
            PassError::NotFinite { .. } | PassError::Overflow { .. } | PassError::Importance { .. } => {
                Kind::Input
            }
            PassError::Read { source, .. } => source.kind(),
            PassError::Cancelled => Kind::Interrupted,
            PassError::Write { .. } | PassError::Order { .. } | PassError::Panicked => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            PassError::NotFinite { .. } => {
                "the checkpoint is damaged or its training diverged; quantizing it would give garbage"
                    .to_owned()
            }
            PassError::Overflow { .. } => "use BF16 or F32 for this tensor".to_owned(),
            PassError::Importance { .. } => NEEDS_IMATRIX.to_owned(),
            PassError::Write { source, .. } => return of_disk(source),
            PassError::Panicked => "this is a bug; please report it with the lines above".to_owned(),
            _ => return None,
        })
    }
}

impl Explain for WriteError {
    fn kind(&self) -> Kind {
        match self {
            WriteError::Pass(error) => error.kind(),
            WriteError::Space { .. } | WriteError::Memory { .. } | WriteError::Io { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            WriteError::Pass(error) => error.hint(),
            WriteError::Space { .. } => {
                Some("free some space, choose another --output, or name fewer methods".to_owned())
            }
            WriteError::Memory { .. } => {
                Some("allow more with --memory, or compute with fewer --threads".to_owned())
            }
            WriteError::Io { source, .. } => of_disk(source),
        }
    }
}

impl Explain for ImatrixError {
    fn kind(&self) -> Kind {
        match self {
            ImatrixError::Io { source, .. } => of_system(source),
            ImatrixError::Gguf(error) => error.kind(),
            _ => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ImatrixError::Gguf(error) => return error.hint(),
            ImatrixError::Io { .. } => return None,
            ImatrixError::Malformed { .. } => {
                "llama.cpp's llama-imatrix makes importance matrices".to_owned()
            }
            ImatrixError::NotFinite { .. } => {
                "compute the matrix again; with a smaller context or in another type if it stays".to_owned()
            }
            ImatrixError::Size { .. } => "use the matrix that was computed for this very model".to_owned(),
            ImatrixError::Missing { .. } => {
                "compute the matrix on more text, or choose a method of three bits or more".to_owned()
            }
        })
    }
}

impl Explain for UnknownMethod {
    fn kind(&self) -> Kind {
        Kind::Usage
    }

    fn hint(&self) -> Option<String> {
        // A near miss has its suggestion in the text.
        let names = || Method::ALL.iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
        self.suggestion.is_none().then(|| format!("the methods are {}", names()))
    }
}

impl Explain for OptionError {
    fn kind(&self) -> Kind {
        Kind::Usage
    }

    fn hint(&self) -> Option<String> {
        None
    }
}

impl Explain for SplitError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            SplitError::FirstTensor { .. } | SplitError::TooMany(_) => "allow larger files".to_owned(),
            SplitError::Empty(_) => "leave --keep-split or --prune-layers out".to_owned(),
        })
    }
}

impl Explain for LayoutError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            LayoutError::Requantize { .. } => {
                "start from the checkpoint or a 16-bit file, or accept the loss with --allow-requantize"
                    .to_owned()
            }
            LayoutError::ImatrixRequired { .. } => NEEDS_IMATRIX.to_owned(),
            LayoutError::MissingKey(key) => {
                format!(
                    "llama.cpp loads no such model without it; if you know it, state it: --override-kv {key}=TYPE:VALUE"
                )
            }
            LayoutError::NotBuilt { .. } => "choose another method".to_owned(),
            LayoutError::Width { .. } | LayoutError::NoFallback { .. } => {
                "choose a type whose blocks fit the width".to_owned()
            }
            _ => return None,
        })
    }
}
