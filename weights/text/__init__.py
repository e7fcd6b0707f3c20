"""The text encoder of the container: all-MiniLM-L6-v2, exported once to ONNX."""
