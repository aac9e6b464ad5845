"""The export report as Markdown that a person reads."""

from __future__ import annotations

from typing import Any


def markdown(report: dict[str, Any]) -> str:
    """Writes a report of `bevkit.export.artefact.write_artefact` as Markdown."""
    onnx, parity = report["onnx"], report["parity"]
    rows = [f"| {name} | {error:.1e} | {100 * parity['stray'][name]:.2g} % |"
            for name, error in parity["relative_error"].items()]
    lines = [
        f"# Export, {report['precision']}: {'passed' if report['passed'] else 'NOT PASSED'}", "",
        *[f"{key}: {value}  " for key, value in report.get("source", {}).items()], "",
        f"`{onnx['file']}`: {onnx['bytes'] / 1e6:.1f} MB, {onnx['nodes']} nodes, made in {onnx['seconds']:.0f} s", "",
        "## ONNX Runtime against PyTorch", "",
        f"{parity['instants']} instants, tolerance {parity['tolerance']:g}. "
        "Error: largest difference over largest value.",
        "", "| output | relative error | beyond the tolerance |", "|---|---|---|", *rows, "",
        decoded_sentence(parity), "",
        "## TensorRT for RTX", "", tensorrt_sentence(report["tensorrt"]), "",
        "## Operators", "", ", ".join(f"{name} {count}" for name, count in onnx["operators"].items()), "",
    ]
    return "\n".join(lines)


def decoded_sentence(parity: dict[str, Any]) -> str:
    """Says whether the decoded instance maps or boxes agree, and whether the vehicle's program decodes alike."""
    if parity["cells"]:
        found = f"{parity['instances']} instances" if parity["instances"] else "no instance at all, so this says little"
        differ = f"{parity['unequal_cells']} of {parity['cells']} cells differ" if parity["unequal_cells"] else \
            f"equal in all {parity['cells']} cells"
        sentence = f"Instance maps: {differ} ({found})."
    elif parity["boxes"]:
        same = parity["boxes"] - parity["unequal_boxes"]
        sentence = (f"Boxes: {same} of {parity['boxes']}, those of both sides together, have a like one on the other "
                    "(same class, score within 0.01, all numbers within 0.05 m, rad, m/s).")
    else:
        return "Nothing was decoded, so this says nothing of maps or boxes."
    if not parity["vehicle"]:
        return sentence
    alike = parity["vehicle"] - parity["vehicle_unequal"]
    return (f"{sentence} The vehicle's decoder makes of ONNX Runtime's outputs what PyTorch makes of them in "
            f"{alike} of {parity['vehicle']} instants.")


def tensorrt_sentence(tensorrt: dict[str, Any]) -> str:
    """Says what TensorRT for RTX made of the graph."""
    if tensorrt["status"] == "built":
        return (f"{tensorrt['runtime']} built {tensorrt['layers']} layers for {tensorrt['capability']} in "
                f"{tensorrt['seconds']:.1f} s: {tensorrt['bytes'] / 1e6:.1f} MB.")
    return tensorrt.get("reason", "Left out.")
