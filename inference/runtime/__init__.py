"""What runs a graph: the choice between OpenVINO and ONNX Runtime, threads, the machine."""
