//! The metadata of several runs as that of one repository.

use super::there::There;
use crate::card::metadata::{Output, QuantizationMetadata};

/// What a repository will have.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// Every output, the smallest first; what the file says of them all is of the last run.
    pub metadata: QuantizationMetadata,
    /// Files of outputs that are replaced under another name, or no longer listed.
    pub delete: Vec<String>,
    /// The methods of the outputs that are gone with them.
    pub gone: Vec<String>,
}

/// Puts what was made to what is there. Of a method there is one output: what was made replaces what is there. `listed`
/// are the methods that stay, where others are to go; none where all stay. `None` where nothing would be left.
pub fn merge(
    there: Option<&There>,
    made: &[QuantizationMetadata],
    listed: Option<&[String]>,
) -> Option<Merged> {
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let new = || made.iter().flat_map(|m| m.outputs.iter().map(move |o| (m, o)));
    let published = there.and_then(|t| Some((t, t.metadata.as_ref()?)));
    let (mut kept, mut delete, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for (there, metadata, output) in
        published.iter().flat_map(|(t, m)| m.outputs.iter().map(move |o| (t, *m, o)))
    {
        let method = &output.recipe.method;
        let replaced = new().any(|(_, n)| same(&n.recipe.method, method) || n.file == output.file);
        let unlisted = listed.is_some_and(|listed| !listed.iter().any(|l| same(l, method)));
        if replaced || unlisted {
            // A file that is another one now was put there by somebody else.
            let all = output.files().into_iter().chain(output.computed_imatrix());
            let ours = all.filter(|file| file.is_in(&there.state.files));
            delete.extend(ours.map(|file| file.file));
            if unlisted && !replaced {
                gone.push(method.clone());
            }
        } else if output.is_in(&there.state.files) {
            kept.push((metadata, output));
        }
    }
    let mut all: Vec<(&QuantizationMetadata, &Output)> = new().chain(kept).collect();
    all.sort_by(|(_, a), (_, b)| (a.size, &a.file).cmp(&(b.size, &b.file)));
    let of = |o: &Output| o.files().into_iter().chain(o.computed_imatrix());
    let stays = |file: &String| all.iter().any(|(_, o)| of(o).any(|f| f.file == *file));
    delete.retain(|file| !stays(file));
    // Several outputs may have had the same matrix.
    delete.sort();
    delete.dedup();

    let last = all.iter().map(|(m, o)| m.made(o)).max_by(|a, b| {
        let when = |run: &crate::card::metadata::Run| (run.finished.clone(), run.started.clone());
        when(a.run).cmp(&when(b.run))
    })?;
    let outputs = all
        .iter()
        .map(|(m, o)| {
            let made = m.made(o);
            let origin = (made != last).then(|| Box::new(made.to_origin()));
            // The same files need not be measured again.
            let figures = || {
                let published = published.iter().flat_map(|(_, m)| &m.outputs);
                published.filter(|p| p.files() == o.files()).find_map(|p| p.evaluation.clone())
            };
            let evaluation = o.evaluation.clone().or_else(figures);
            Output { origin, evaluation, ..(*o).clone() }
        })
        .collect();
    let top = last.to_origin();
    let metadata = QuantizationMetadata {
        format_version: crate::card::metadata::FORMAT_VERSION,
        program: top.program,
        reference: top.reference,
        source: top.source,
        outputs,
        run: top.run,
    };
    Some(Merged { metadata, delete, gone })
}
