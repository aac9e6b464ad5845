"""The export report as Markdown that a person reads."""

from __future__ import annotations

from typing import Any


def markdown(report: dict[str, Any]) -> str:
    """Writes a report of `bevkit.export.artefact.write_artefact` as Markdown."""
    onnx, parity = report["onnx"], report["parity"]
    rows = [f"| {name} | {error:.1e} |" for name, error in parity["relative_error"].items()]
    lines = [
        f"# Export, {report['precision']}: {'passed' if report['passed'] else 'NOT PASSED'}", "",
        *[f"{key}: {value}  " for key, value in report.get("source", {}).items()], "",
        f"`{onnx['file']}`: {onnx['bytes'] / 1e6:.1f} MB, {onnx['nodes']} nodes, made in {onnx['seconds']:.0f} s", "",
        "## ONNX Runtime against PyTorch", "",
        f"{parity['instants']} instants, tolerance {parity['tolerance']:g}. "
        "Error: largest difference over largest value.",
        "", "| output | relative error |", "|---|---|", *rows, "", maps_sentence(parity), "",
        "## TensorRT for RTX", "", tensorrt_sentence(report["tensorrt"]), "",
        "## Operators", "", ", ".join(f"{name} {count}" for name, count in onnx["operators"].items()), "",
    ]
    return "\n".join(lines)


def maps_sentence(parity: dict[str, Any]) -> str:
    """Says whether the decoded instance maps agree."""
    if parity["maps_equal"] is None:
        return "No instance maps were decoded."
    found = f"{parity['instances']} instances" if parity["instances"] else "no instance at all, so this says little"
    if parity["maps_equal"]:
        return f"Instance maps: equal in all {parity['cells']} cells ({found})."
    return f"Instance maps: {parity['unequal_cells']} of {parity['cells']} cells differ ({found})."


def tensorrt_sentence(tensorrt: dict[str, Any]) -> str:
    """Says what TensorRT for RTX made of the graph."""
    if tensorrt["status"] == "built":
        return (f"{tensorrt['runtime']} built {tensorrt['layers']} layers for {tensorrt['capability']} in "
                f"{tensorrt['seconds']:.1f} s: {tensorrt['bytes'] / 1e6:.1f} MB.")
    return tensorrt.get("reason", "Left out.")
