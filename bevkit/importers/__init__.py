"""From an upstream author's state_dict to bevkit's."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from bevkit.importers.base import ImportReport, Rule, Translation, fit, read_state_dict, translate
from bevkit.importers.bevdepth import translate_bevdepth
from bevkit.importers.bevdet import translate_bevdet
from bevkit.importers.bevformer import translate_bevformer
from bevkit.importers.centerpoint import translate_centerpoint, translate_old_centerpoint
from bevkit.importers.efficient import translate_efficient
from bevkit.importers.fbbev import translate_fbbev
from bevkit.importers.fiery import translate_beverse_motion, translate_fiery
from bevkit.importers.fiptr import translate_fiptr
from bevkit.importers.hop import translate_hop
from bevkit.importers.matrixvt import translate_matrixvt
from bevkit.importers.powerbev import translate_powerbev
from bevkit.importers.sparsebev import translate_sparsebev

# One entry a family of upstream checkpoints: (state_dict, entries of the bevkit model) -> Translation.
IMPORTERS = {
    "bevdepth": translate_bevdepth, "bevdet": translate_bevdet, "bevformer": translate_bevformer,
    "centerpoint": translate_centerpoint, "centerpoint_before_1.0": translate_old_centerpoint,
    "efficient": translate_efficient, "fiery": translate_fiery, "beverse_motion": translate_beverse_motion,
    "fiptr": translate_fiptr,
    "fbbev": translate_fbbev, "hop": translate_hop, "matrixvt": translate_matrixvt, "powerbev": translate_powerbev,
    "sparsebev": translate_sparsebev,
}


def import_checkpoint(src: str | Path, system: str, model: nn.Module) -> ImportReport:
    """Loads the authors' weights of a system into a bevkit model and says what became of every entry.

    Raises:
        FileNotFoundError: ``src`` does not exist.
        ValueError: the system is unknown, the file cannot be read safely, or nothing in it fits.
    """
    if system not in IMPORTERS:
        raise ValueError(f"system: expected one of {sorted(IMPORTERS)}, got {system!r}")
    return fit(IMPORTERS[system](read_state_dict(src), model.state_dict()), model, system, str(src))


__all__ = ["IMPORTERS", "ImportReport", "Rule", "Translation", "fit", "import_checkpoint", "read_state_dict",
           "translate"]
