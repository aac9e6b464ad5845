"""From a model to ONNX and TensorRT, with a parity report."""
